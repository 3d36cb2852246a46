"""Everything that differs from run to run, drawn from a seed: scheduling, chance, secrets, clocks and threads."""

from __future__ import annotations

import datetime
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

import trio

import sie.router.head
import sie.turns
from sie.testing.scheduling import same_order

T = TypeVar("T")

# As it was for every entry and every store of every run: Unix seconds, 2026-01-01.
EPOCH_S = 1_767_225_600.0


@contextmanager
def repeatable(seed: str) -> Iterator[None]:
    """What runs within the block runs the same each time, on any machine with the same Python and trio.

    Trio orders the tasks that can run by a shuffle of their ages. What would run in a thread runs at once, where it
    was asked for. Wall clocks follow Trio's; a turn's (sie.turns) is over whenever chance will have it.
    """
    chance = random.Random(seed)
    outside = random.getstate()
    random.seed(chance.random())
    order = chance.random()
    names, turns = random.Random(chance.random()), _Turns(random.Random(chance.random()))
    try:
        with ExitStack() as stack:
            stack.enter_context(same_order(order))
            for where, name, replacement in (
                (trio.to_thread, "run_sync", _at_once),
                (secrets, "token_hex", lambda nbytes=16: names.randbytes(nbytes).hex()),
                (time, "time", _wall),
                (sie.turns, "time", SimpleNamespace(perf_counter=turns.now)),
                (sie.router.head, "datetime", SimpleNamespace(datetime=_Wall, UTC=datetime.UTC)),
            ):
                stack.enter_context(mock.patch.object(where, name, replacement))
            yield
    finally:
        random.setstate(outside)


async def _at_once(work: Callable[..., T], *args: Any, **said: Any) -> T:
    await trio.lowlevel.checkpoint()
    return work(*args)


def _wall() -> float:
    try:
        return EPOCH_S + trio.current_time()
    except RuntimeError:  # outside of the run
        return EPOCH_S


class _Wall(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _Wall:
        return cls.fromtimestamp(_wall(), tz)


class _Turns:
    """A clock of which nobody knows how fast it runs."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = 0.0

    def now(self) -> float:
        self._now += 0.0015 * self._chance.random()
        return self._now
