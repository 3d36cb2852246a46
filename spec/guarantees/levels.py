"""What everybody knows once the faults have ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from spec.evidence import Evidence, Finding, cut
from spec.history import Listing, Settled


def everything_converges(evidence: Evidence) -> Iterator[Finding]:
    """Once all is settled, every router lists what the store has, every worker has nothing else and follows it to its
    head, and workers of one bundle have the same, stand at one revision and show one digest."""
    settled: Settled | None = None
    final: list[Listing] = []
    for event in evidence.moments():
        if isinstance(event, Settled):
            yield from _are_level(final)
            settled, final = event, []
        elif isinstance(event, Listing) and settled is not None and event.who not in settled.excused:
            final.append(event)
    yield from _are_level(final)


def _are_level(final: Sequence[Listing]) -> Iterator[Finding]:
    """Where there are several stores, as of routers that share none, each router has what any store has."""
    stores = list({one.store: one for one in final if one.role == "store"}.values())
    routers = [one for one in final if one.role == "router"]
    the_store = stores[0] if len(stores) == 1 else None
    whole = the_store or next(iter(routers), None)
    for one in routers:
        for part in stores if the_store is not None else (*stores, routers[0]):
            yield from _has_all_of(part, one)
        if whole is not None:
            yield from _has_all_of(one, whole)
        if the_store is not None:
            yield from _follows(the_store, one)
            if one.revision and the_store.revision and one.revision != the_store.revision:
                yield f"{one.who} is at {one.revision}, and the store at {the_store.revision}", _heads(the_store, one)
    peers: dict[str, Listing] = {}  # the first worker of each bundle
    for one in final:
        if one.role != "worker":
            continue
        peer = peers.setdefault(one.bundle, one)
        yield from _has_all_of(peer, one)
        if whole is not None:
            yield from _has_all_of(one, whole)
        yield from _has_all_of(one, peer)
        if (peer.store, peer.revision, peer.digest) != (one.store, one.revision, one.digest):
            yield f"{peer.who} and {one.who}, both of {one.bundle}, do not stand alike", _heads(peer, one)
        if the_store is not None:
            yield from _follows(the_store, one)
            head = the_store.heads.get(one.bundle, (one.revision, one.digest))
            if tuple(head) != (one.revision, one.digest):
                yield f"{one.who} stands at {one.revision}, not at {head[0]}", _heads(the_store, one)


def _has_all_of(part: Listing, whole: Listing) -> Iterator[Finding]:
    """`whole` has each profile that `part` has; at most one finding."""
    if part is whole or part.models == whole.models:
        return
    for model, profiles in part.models.items():
        if lacking := profiles.keys() - whole.models.get(model, {}).keys():
            yield (
                f"{part.who} has {model} {min(lacking)} and {whole.who} has not",
                (cut(part, model), cut(whole, model)),
            )
            return


def _follows(store: Listing, one: Listing) -> Iterator[Finding]:
    if one.store and store.store and one.store != store.store:
        yield f"{one.who} follows store {one.store}, and {store.store} is there", _heads(store, one)


def _heads(*listings: Listing) -> tuple[Listing, ...]:
    """Without the models, which are not what is wrong."""
    return tuple(replace(one, models={}, entries=()) for one in listings)
