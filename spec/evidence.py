# Rule: nothing here decides whether anything is right; each event is looked at once or twice.
"""A history, laid out for those who judge it: by profile, by worker, by store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from spec.history import About, Event, Holds, Listing, Post, Read, Served, Settled, Stands, Watched, Watching

Key: TypeAlias = tuple[str, str]  # a model and a profile
Finding: TypeAlias = tuple[str, tuple[Event, ...]]  # what is wrong, and the events that show it


class Trace:
    """All that is known of one (model, profile).

    By content, the first to begin of the POSTs that were `accepted`, that `maybe` happened and that were `refused`.
    `creators`: who were told that they created it. `seen`: by (content, store), when first, and in what; `said`: the
    same of answers. `base`: it was there before the store's log.
    """

    __slots__ = ("accepted", "base", "creators", "maybe", "refused", "said", "seen")

    def __init__(self) -> None:
        self.accepted: dict[str, Post] = {}
        self.maybe: dict[str, Post] = {}
        self.refused: dict[str, Post] = {}
        self.creators: list[Post] = []
        self.seen: dict[Key, tuple[float, Event]] = {}
        self.said: dict[Key, Post] = {}
        self.base = False

    def first_seen(self, content: str) -> tuple[float, Event] | None:
        """When this content was first seen anywhere, and in what."""
        found = [seen for (one, _), seen in self.seen.items() if one == content]
        return min(found, key=_when) if found else None

    def shown(self) -> dict[Key, Event]:
        """By (content, store), an event that shows it: seen, or answered."""
        return {**self.said, **{key: event for key, (_, event) in self.seen.items()}}

    @property
    def disputed(self) -> bool:
        """Whether two stores have other contents of it. Then it is one of them for everybody, and not for both."""
        return len({content for content, store in self.shown() if store}) > 1

    def brought(self, content: str) -> Iterator[Post]:
        """The POSTs that may have brought this content; of many alike, the first."""
        for posts in (self.accepted, self.maybe):
            if content in posts:
                yield posts[content]


class Evidence:
    """`only`: the store's id, where all that happened was about one store; "" where there were several.

    In a history of several stores, an answer or a listing speaks of a store only as far as it must: what a POST
    created, what a store lists, what a watcher is told. All else may have come from any of them.
    """

    def __init__(self, history: Iterable[Event]) -> None:
        self.events = tuple(history)
        self.posts: list[Post] = []
        self.reads: list[Read] = []
        self.served: list[Served] = []
        self.listings: list[Listing] = []
        self.stands: list[Stands] = []
        self.watching: dict[str, list[Watching | Watched]] = defaultdict(list)  # by watcher
        self.traces: dict[Key, Trace] = defaultdict(Trace)
        self.held: dict[str, dict[Key, float]] = defaultdict(dict)  # worker -> since when it has it
        self.bundle_of: dict[str, str] = {}  # worker -> bundle
        self.holds = True
        self.lasting: set[str] = set()  # stores that are there in the end
        self.stores = {one.store for one in self.events if isinstance(one, _OF_A_STORE)} - {""}
        self.one_store = len(self.stores) < 2
        self.only = next(iter(self.stores), "") if self.one_store else ""
        for event in self.events:
            self._take(event)

    def store(self, said: str) -> str:
        """The store that an event is about; "" where nobody can tell."""
        return said or self.only

    def moments(self) -> Iterator[Post | Listing | Settled]:
        """Accepted POSTs, each at its end, listings, and what is settled: in the order of time."""
        told = [
            one for one in self.events if isinstance(one, Listing | Settled) or (type(one) is Post and one.accepted)
        ]
        return iter(sorted(told, key=_moment))

    def _take(self, event: Event) -> None:
        match event:
            case Holds():
                key = event.model, event.profile
                self.held[event.worker].setdefault(key, event.at)
                self.bundle_of[event.worker] = event.bundle
                self._see(event.model, {event.profile: event.content}, event.at, "", event)
            case Stands():
                self.stands.append(event)
            case Post():
                self._take_post(event)
            case Listing():
                self.listings.append(event)
                bound = event.store if event.role == "store" else ""
                for model, profiles in event.models.items():
                    self._see(model, profiles, event.at, bound, event)
                if event.role == "store":
                    self.lasting.add(event.store)
                    if event.entries or not event.revision:
                        self._find_base(event)
            case Read():
                self.reads.append(event)
                if event.status == 200 and event.end is not None:
                    self._see(event.model, event.profiles or {}, event.end, "", event)
            case Served():
                self.served.append(event)
                if event.status == 200 and event.end is not None:
                    self._see(event.model, {event.profile: event.content}, event.end, "", event)
            case Watched():
                self.watching[event.watcher].append(event)
                self._see(event.model, event.profiles, event.at, event.store, event)
            case Watching():
                self.watching[event.watcher].append(event)
            case Settled():
                self.lasting.clear()
            case About():
                self.holds = event.holds
            case _:
                pass

    def _see(self, model: str, profiles: Mapping[str, str], at: float, store: str, event: Event) -> None:
        store = store or self.only
        for profile, content in profiles.items():
            if content:
                seen = self.traces[model, profile].seen
                known = seen.get((content, store))
                if known is None or at < known[0]:
                    seen[content, store] = at, event

    def _take_post(self, post: Post) -> None:
        self.posts.append(post)
        for profile, content in post.profiles.items():
            trace = self.traces[post.model, profile]
            alike = trace.accepted if post.accepted else trace.refused if post.refused else trace.maybe
            known = alike.get(content)
            if known is None or post.begin < known.begin:
                alike[content] = post
            if post.accepted:
                created = profile in post.created
                trace.said.setdefault((content, self.store(post.store) if created else self.only), post)
                if created:
                    trace.creators.append(post)

    def _find_base(self, listing: Listing) -> None:
        logged = {(model, profile) for _, model, profiles in listing.entries for profile in profiles}
        for model, profiles in listing.models.items():
            for profile in profiles:
                if (model, profile) not in logged:
                    self.traces[model, profile].base = True


_OF_A_STORE = (Post, Listing, Stands, Watching, Watched)


def _when(seen: tuple[float, Event]) -> float:
    return seen[0]


def _moment(event: Post | Listing | Settled) -> float:
    if type(event) is Post:
        assert event.end is not None, "what was answered has ended"
        return event.end
    assert not isinstance(event, Post)
    return event.at


def cut(event: Event, *models: str) -> Event:
    """The event, of a listing only what it says of these models."""
    if not isinstance(event, Listing):
        return event
    return replace(
        event,
        models={one: event.models[one] for one in models if one in event.models},
        entries=[one for one in event.entries if one[1] in models],
    )
