"""What watchers are told, made wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from spec.history import Event, Watched
from tests.spec.judge.changing import Mutated, changed, changed_all


def _neighbours(history: Sequence[Event]) -> list[tuple[Watched, Watched]]:
    """Two entries that a watcher was told of one after the other."""
    found = []
    last: dict[str, Event] = {}
    for one in history:
        watcher = getattr(one, "watcher", None)
        if watcher is not None:
            before = last.get(watcher)
            if isinstance(one, Watched) and one.model and isinstance(before, Watched) and before.model:
                found.append((before, one))
            last[watcher] = one
    return found


def swap(history: Sequence[Event], chance: random.Random) -> Mutated:
    pairs = _neighbours(history)
    if not pairs:
        return None
    one, other = chance.choice(pairs)
    return changed_all(history, (one, (other,)), (other, (one,)))


def double(history: Sequence[Event], chance: random.Random) -> Mutated:
    watched = [one for one in history if isinstance(one, Watched) and one.model]
    return changed_all(history, (one := chance.choice(watched), (one, one))) if watched else None


def drop(history: Sequence[Event], chance: random.Random) -> Mutated:
    """The first of two, and the one before it was told."""
    firsts = {id(one): one for one, _ in _neighbours(history)}
    inner = [one for _, one in _neighbours(history) if id(one) in firsts]
    return changed_all(history, (chance.choice(inner), ())) if inner else None


def drop_after_return(history: Sequence[Event], chance: random.Random) -> Mutated:
    """The first that a watcher was told after it came back, where there is a next."""
    back: set[str] = set()
    been: set[str] = set()
    firsts = []
    for one in history:
        watcher = getattr(one, "watcher", None)
        if watcher is None:
            continue
        if not isinstance(one, Watched):
            back |= {watcher} & been
            been.add(watcher)
        elif one.model and watcher in back:
            firsts.append(one)
            back.discard(watcher)
    pairs = _neighbours(history)
    inner = [one for one in firsts if any(one is before for before, _ in pairs)]
    return changed_all(history, (chance.choice(inner), ())) if inner else None


def tell_otherwise(history: Sequence[Event], chance: random.Random) -> Mutated:
    watched = [one for one in history if isinstance(one, Watched) and one.model]
    return changed(history, chance, [(one, replace(one, profiles={})) for one in watched])
