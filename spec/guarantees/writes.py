"""What becomes of what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spec.evidence import Evidence, Finding, Key, cut
from spec.history import Event, Listing, Post, Settled


def no_accepted_write_lost(evidence: Evidence) -> Iterator[Finding]:
    """Every profile of an accepted POST is in every later listing of its store, and in every final listing of the
    routers of that store and of the workers that can run it."""
    accepted: dict[str, dict[Key, Post]] = {}  # store -> so far
    settled: dict[str, dict[Key, Post]] = {}  # the same, when last all was settled
    excused: set[str] = set()
    for event in evidence.moments():
        if isinstance(event, Post):
            known = accepted.setdefault(evidence.store(event.store), {})
            for profile in event.profiles if evidence.one_store else event.created:
                known.setdefault((event.model, profile), event)
        elif isinstance(event, Settled):
            settled, excused = {store: dict(known) for store, known in accepted.items()}, set(event.excused)
        elif event.role == "store" or event.who not in excused:
            due = accepted if event.role == "store" else settled
            for (model, profile), post in due.get(evidence.store(event.store), {}).items():
                if profile not in event.models.get(model, ()) and _is_due(evidence, event, model, profile):
                    yield f"{model} {profile} was accepted and {event.who} has lost it", (post, cut(event, model))


def _is_due(evidence: Evidence, listing: Listing, model: str, profile: str) -> bool:
    """Of a worker only what it can run: its creator was told which bundles those are."""
    return listing.role != "worker" or any(
        listing.bundle in post.bundles.get(profile, ())
        for post in evidence.traces[model, profile].creators
        if evidence.store(post.store) == evidence.store(listing.store)
    )


def no_ghosts(evidence: Evidence) -> Iterator[Finding]:
    """A refused POST changed nothing: its content is nowhere, unless another POST may have brought it, or it was there
    before."""
    for (model, profile), trace in evidence.traces.items():
        if trace.base:
            continue
        for content, refused in trace.refused.items():
            if (seen := trace.first_seen(content)) is None or seen[0] < refused.begin:
                continue
            at, event = seen
            if not any(post.begin <= at for post in trace.brought(content)):
                yield f"{model} {profile} was refused and is there all the same", (refused, cut(event, model))


def one_content_per_profile(evidence: Evidence) -> Iterator[Finding]:
    """Whoever looks at a profile, anywhere and at any time, sees the same content, as long as its store lives."""
    for (model, profile), trace in evidence.traces.items():
        if len(trace.seen) + len(trace.said) > 1 and (pair := _contradiction(trace.shown(), len(evidence.stores))):
            yield f"{model} {profile} has two contents", tuple(cut(one, model) for one in pair)


def _contradiction(shown: Mapping[Key, Event], stores: int) -> tuple[Event, Event] | None:
    """Two events that cannot both be right: of one store, or more different ones than there are stores."""
    by_store: dict[str, tuple[str, Event]] = {}
    by_content: dict[str, Event] = {}
    for (content, store), event in shown.items():
        by_content.setdefault(content, event)
        if store:
            known, before = by_store.setdefault(store, (content, event))
            if known != content:
                return before, event
    first, *others = by_content.values()
    return (first, others[-1]) if len(others) >= max(1, stores) else None
