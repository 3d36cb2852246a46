"""A clock that stands still while anything can run, and jumps to the next deadline when nothing can."""

from __future__ import annotations

import math

import trio

from sie.testing.simulation.world import World


class JumpingClock(trio.abc.Clock):
    """As trio.testing.MockClock with autojump_threshold=0, at a third of its cost: it jumps where Trio asks how long
    to sleep, which it does only with nothing to run, and not after another turn of the loop.

    What is due in the world is done between two turns of the loop, with no task to wake for it.

    For programs that wait for nothing outside of them.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._now = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        due = self._world.next_due
        until = min(due, deadline)
        if until == math.inf:
            return math.inf
        self._now = max(self._now, until)
        if until == due:
            self._world.do_due()
        return 0.0
