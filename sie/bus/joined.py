"""The bus of a process that has followers of its own and is also on NATS."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import trio

from sie.bus.contract import Bus, Hint, Notice, Reminder
from sie.bus.local import LocalBus
from sie.errors import BusUnavailable

if TYPE_CHECKING:
    from sie.bus.nats import BusStatistics


class WiderBus(Bus, Protocol):
    """One that other processes are on too."""

    def statistics(self) -> BusStatistics: ...


class JoinedBus:
    """Tells this process's own followers at once, then everybody else. Connected when the wider bus is.

    `published`: notices that the wider bus took, `refused`: those that it did not, since the start.
    """

    def __init__(self, near: LocalBus, far: WiderBus) -> None:
        self.published = 0
        self.refused = 0
        self._near = near
        self._far = far

    def heard(self) -> BusStatistics:
        """What came over the wider bus."""
        return self._far.statistics()

    @property
    def connected(self) -> bool:
        return self._far.connected

    async def publish(self, notice: Notice) -> None:
        """Raises BusUnavailable if the wider bus did not take it; the followers here have it all the same."""
        await self._near.publish(notice)
        try:
            await self._far.publish(notice)
        except BusUnavailable:
            self.refused += 1
            raise
        self.published += 1

    async def remind(self, reminder: Reminder) -> None:
        """As `publish`."""
        await self._near.remind(reminder)
        await self._far.remind(reminder)

    def nudge(self) -> None:
        self._near.nudge()

    def follow(self, bundle: str) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        return self._near.follow(bundle)
