"""What an answer says, held against everything else that is known."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

from spec.evidence import Evidence, Finding, Key, Trace, cut
from spec.history import Listing, Post


def created_exactly_once(evidence: Evidence) -> Iterator[Finding]:
    """Of one store, one answer alone says that it created a profile, a repeated Idempotency-Key is answered as it was
    the first time, and the log creates each profile once, at numbers that rise by one."""
    yield from _created_twice(evidence)
    yield from _answered_otherwise(evidence)
    yield from _told_of_the_log(evidence)


def _created_twice(evidence: Evidence) -> Iterator[Finding]:
    begun: dict[Hashable, float] = {}  # when the first of those that count as one began
    for post in evidence.posts:
        if post.key:
            begun[_order(post)] = min(post.begin, begun.get(_order(post), math.inf))
    for (model, profile), trace in evidence.traces.items():
        first: dict[str, Post] = {}  # by store
        for post in trace.creators:
            store = evidence.store(post.store)
            other = first.setdefault(store, post)
            if _order(other) != _order(post):
                yield f"two were told that they created {model} {profile}", (other, post)
            for (_, place), (at, event) in trace.seen.items():
                if place == store and at < begun.get(_order(post), post.begin):
                    yield (
                        f"{model} {profile} was there before this is said to have created it",
                        (cut(event, model), post),
                    )


def _order(post: Post) -> Hashable:
    """What is the same for POSTs that count as one: their key and their body; without a key, nothing."""
    return (post.key, post.model, frozenset(post.profiles.items())) if post.key else id(post)


def _answered_otherwise(evidence: Evidence) -> Iterator[Finding]:
    first: dict[Hashable, Post] = {}
    numbers: dict[tuple[str, int], Post] = {}
    for post in evidence.posts:
        if not post.accepted:
            continue
        store = evidence.store(post.store)
        if post.key:
            before = first.setdefault((_order(post), store), post)
            if _outcome(before) != _outcome(post):
                yield f"the key {post.key} was answered otherwise before", (before, post)
        if post.created and post.revision:
            other = numbers.setdefault((store, post.revision), post)
            if _order(other) != _order(post):
                yield f"two were told that revision {post.revision} is theirs", (other, post)


def _outcome(post: Post) -> object:
    """What an answer repeats."""
    return post.status, frozenset(post.created), post.revision if post.created else 0


def _told_of_the_log(evidence: Evidence) -> Iterator[Finding]:
    logs: dict[str, Listing] = {}  # the newest of each store
    for listing in evidence.listings:
        if not listing.entries:
            continue
        yield from _log_is_sound(listing)
        store = evidence.store(listing.store)
        before = logs.get(store, listing)
        if listing.entries[: len(before.entries)] != before.entries:
            yield f"the log of {listing.who} is not what it was with more at its end", (before, listing)
        logs[store] = listing
    entries = {
        store: {revision: (model, frozenset(profiles)) for revision, model, profiles in listing.entries}
        for store, listing in logs.items()
    }
    for post in evidence.posts:
        if post.accepted and post.created:
            entry = entries.get(evidence.store(post.store), {}).get(post.revision)
            if entry is not None and entry != (post.model, frozenset(post.created)):
                log = logs[evidence.store(post.store)]
                yield f"revision {post.revision} is another's in the log", (post, cut(log, post.model, entry[0]))


def _log_is_sound(listing: Listing) -> Iterator[Finding]:
    created: dict[Key, int] = {}
    number = listing.entries[0][0] - 1
    for revision, model, profiles in listing.entries:
        number += 1
        if revision != number:
            yield f"{revision} stands in the log of {listing.who} where {number} should", (cut(listing, model),)
            number = revision
        for profile in profiles:
            other = created.setdefault((model, profile), revision)
            if other != revision:
                yield f"{model} {profile} is created at {other} and at {revision}", (cut(listing, model),)


def skipped_was_there(evidence: Evidence) -> Iterator[Finding]:
    """What an answer calls there already was there before, or another POST may have created it before the answer."""
    for post in evidence.posts:
        if not post.accepted or post.end is None:
            continue
        for profile, content in post.profiles.items():
            if profile in post.created:
                continue
            trace = evidence.traces[post.model, profile]
            if not trace.base and not _may_be_created(trace, content, post.end):
                yield f"{post.model} {profile} cannot have been there yet", (post, *trace.creators[:1])


def _may_be_created(trace: Trace, content: str, by: float) -> bool:
    seen, maybe = trace.first_seen(content), trace.maybe.get(content)
    return (
        any(one.begin <= by for one in trace.creators)
        or (maybe is not None and maybe.begin <= by)
        or (seen is not None and seen[0] <= by)
    )


def conflicts_are_real(evidence: Evidence) -> Iterator[Finding]:
    """A 409 is given only where another POST may have created one of the profiles with other content before it."""
    for post in evidence.posts:
        if post.status == 409 and post.end is not None:
            known = (evidence.traces[post.model, profile] for profile in post.profiles)
            pairs = zip(known, post.profiles.values(), strict=True)
            if not any(_may_conflict(trace, content, post.end, evidence.one_store) for trace, content in pairs):
                yield f"nothing of {post.model} can have had other content", (post, *_first_like(evidence, post))


def _may_conflict(trace: Trace, content: str, by: float, one_store: bool) -> bool:
    others = {one for one, _ in trace.shown()}
    if not others or not one_store:
        others |= trace.maybe.keys()
    for other in others - {content}:
        brought = list(trace.brought(other))
        seen = trace.first_seen(other)
        if any(one.begin <= by for one in brought) or (seen is not None and (seen[0] <= by or not brought)):
            return True
    return False


def _first_like(evidence: Evidence, post: Post) -> Sequence[Post]:
    """An accepted POST of the same model, for the excerpt."""
    for profile in post.profiles:
        if accepted := list(evidence.traces[post.model, profile].accepted.values()):
            return accepted[:1]
    return ()


def read_your_writes(evidence: Evidence) -> Iterator[Finding]:
    """A read that asks for a revision sees what every answer of that revision, or an earlier one, said was there."""
    if not evidence.one_store:
        return  # a number alone does not say of which store it is
    known: dict[str, dict[str, Post]] = {}  # model -> profile -> the accepted POST of the lowest revision that has it
    for post in evidence.posts:
        if post.accepted and post.revision:
            profiles = known.setdefault(post.model, {})
            for profile in post.profiles:
                if profile not in profiles or post.revision < profiles[profile].revision:
                    profiles[profile] = post
    for read in evidence.reads:
        if not read.at_least or read.status not in (200, 404):
            continue
        found: Mapping[str, str] = read.profiles or {}
        for profile, post in known.get(read.model, {}).items():
            if post.revision <= read.at_least and profile not in found:
                yield f"{read.model} {profile} was there at {post.revision} and is not at {read.at_least}", (post, read)
