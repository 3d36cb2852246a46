"""The bus of a process that has followers of its own and is also on NATS."""

from __future__ import annotations

from contextlib import AbstractContextManager

import trio

from sie.bus.contract import Bus, Hint, Notice
from sie.bus.local import LocalBus


class JoinedBus:
    """Tells this process's own followers at once, then everybody else. Connected when the wider bus is."""

    def __init__(self, near: LocalBus, far: Bus) -> None:
        self._near = near
        self._far = far

    @property
    def connected(self) -> bool:
        return self._far.connected

    async def publish(self, notice: Notice) -> None:
        """Raises BusUnavailable if the wider bus did not take it; the followers here have it all the same."""
        await self._near.publish(notice)
        await self._far.publish(notice)

    def nudge(self) -> None:
        self._near.nudge()

    def follow(self, bundle: str) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        return self._near.follow(bundle)
