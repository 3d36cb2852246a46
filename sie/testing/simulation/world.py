"""The world of one run: its clock, what happens in it later, its chances, and what was seen."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

import trio

from spec.history import Event, Note


class World:
    """`seen`: the history, in the order it was written down."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.seen: list[Event] = []
        self.messages: Counter[int] = Counter()  # over the bus, in each second
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._sleep: trio.CancelScope | None = None

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return trio.current_time()

    def chance(self, whose: str) -> random.Random:
        """A source of chance of its own for everybody: what one draws does not change what another does."""
        return random.Random(f"{self.seed}/{whose}")

    def note(self, text: str) -> None:
        self.seen.append(Note(at=self.now, text=text))

    def at(self, delay_s: float, do: Callable[[], None]) -> None:
        """Do it so much later, whoever asked may be gone by then."""
        when = self.now + delay_s
        heapq.heappush(self._later, (when, next(self._numbers), do))
        if self._sleep is not None and self._later[0][0] == when:
            self._sleep.deadline = when

    @property
    def next_due(self) -> float:
        """When something is to be done next; infinity while there is nothing."""
        return self._later[0][0] if self._later else math.inf

    def do_due(self) -> None:
        """Do what is due by now."""
        while self._later and self._later[0][0] <= self.now:
            heapq.heappop(self._later)[2]()

    async def pass_time(self) -> None:
        """Do what is due, until cancelled: under any clock but a JumpingClock, which does it by itself."""
        while True:
            with trio.CancelScope(deadline=self.next_due) as self._sleep:
                await trio.sleep_forever()
            self.do_due()


class Life:
    """One life of a process, from a start to its end. What it does after that happens to nobody."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.over = trio.Event()
        self.cut_from_store = False  # it cannot reach one, whichever it has open
        self.scope = trio.CancelScope()

    @property
    def alive(self) -> bool:
        return not self.over.is_set()

    async def take_along(self, scope: trio.CancelScope) -> None:
        """Cancel what somebody else does with this process, once it has ended."""
        await self.over.wait()
        scope.cancel(reason=f"{self.name} is gone")

    def end(self, why: str) -> None:
        """As by SIGKILL: nothing it has not done yet will be done."""
        self.over.set()
        self.scope.cancel(reason=why)
