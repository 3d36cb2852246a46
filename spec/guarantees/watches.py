"""What watchers are told, each from one coming to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from spec.evidence import Evidence, Finding, cut
from spec.history import Event, Listing, Watched, Watching


@dataclass(frozen=True, slots=True)
class _Session:
    """From one coming of a watcher to the next. `first`: it had not been there before."""

    begun: Watching
    first: bool
    told: list[Watched] = field(default_factory=list)

    @property
    def entries(self) -> Sequence[Watched]:
        return [one for one in self.told if one.model]


def _sessions(evidence: Evidence) -> Iterator[_Session]:
    for events in evidence.watching.values():
        session: _Session | None = None
        for event in events:
            if isinstance(event, Watching):
                if session is not None:
                    yield session
                session = _Session(event, session is None)
            elif session is not None:
                session.told.append(event)
        if session is not None:
            yield session


def watch_ordered(evidence: Evidence) -> Iterator[Finding]:
    """A watcher is told of entries in the order of their numbers, and no bookmark lies before what it was told."""
    for session in _sessions(evidence):
        highest = session.begun.since if session.first else -1
        last: Event = session.begun
        told = set[int]()
        for one in session.told:
            if one.revision < highest + bool(one.model) and not (one.model and one.revision in told):
                yield f"{one.watcher} was told of {one.revision} after {highest}", (last, one)
            if one.model:
                told.add(one.revision)
            if one.revision > highest:
                highest, last = one.revision, one


def watch_unique(evidence: Evidence) -> Iterator[Finding]:
    """A watcher that stays is told of each entry once."""
    for session in _sessions(evidence):
        told: dict[int, Watched] = {}
        for one in session.entries:
            if one.revision in told:
                yield f"{one.watcher} was told of {one.revision} twice", (told[one.revision], one)
            told[one.revision] = one


def watch_gap_free(evidence: Evidence) -> Iterator[Finding]:
    """A watcher is told of every entry from the first to the last, and no bookmark claims more than it was told."""
    for session in _sessions(evidence):
        entries = sorted(session.entries, key=lambda one: one.revision)
        last: Event = session.begun if session.first or not entries else entries[0]
        known = session.begun.since if session.first or not entries else entries[0].revision
        for one in entries:
            if one.revision > known + 1:
                yield f"{one.watcher} was told of {one.revision} and not of {known + 1}", (last, one)
            known, last = max(known, one.revision), one
        last, reached = session.begun, session.begun.since
        for one in session.told:
            if one.revision > reached and not one.model:
                yield f"{one.watcher} is said to know {one.revision} and was told up to {reached}", (last, one)
            if one.revision > reached:
                reached, last = one.revision, one


def watch_resumable(evidence: Evidence) -> Iterator[Finding]:
    """A watcher that comes back is told of what comes next after where it was, of the same store, or to read anew."""
    for session in _sessions(evidence):
        begun, entries = session.begun, session.entries
        if session.told and begun.status != 200:
            yield f"{begun.watcher} was answered {begun.status} and told all the same", (begun, session.told[0])
        elif entries and not session.first:
            first = min(entries, key=lambda one: one.revision)
            if first.revision != begun.since + 1:
                yield f"{begun.watcher} came back after {begun.since} and went on with {first.revision}", (begun, first)
        for one in session.told:
            if begun.store and one.store and one.store != begun.store:
                yield f"{begun.watcher} watches store {begun.store} and was told of another", (begun, one)
                break


def watch_tells_the_log(evidence: Evidence) -> Iterator[Finding]:
    """What watchers are told of a revision is what stands there in the log, and the same for all of them."""
    logs: dict[str, Listing] = {evidence.store(one.store): one for one in evidence.listings if one.entries}
    known: dict[tuple[str, int], tuple[str, frozenset[str], Event]] = {
        (store, revision): (model, frozenset(profiles), listing)
        for store, listing in logs.items()
        for revision, model, profiles in listing.entries
    }
    for events in evidence.watching.values():
        for one in events:
            if isinstance(one, Watched) and one.model:
                told = (one.model, frozenset(one.profiles), one)
                model, profiles, event = known.setdefault((evidence.store(one.store), one.revision), told)
                if (model, profiles) != told[:2]:
                    yield f"{one.watcher} was told otherwise of {one.revision}", (cut(event, model, one.model), one)
