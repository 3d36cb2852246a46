"""The bus inside one process: no broker, the same promises."""

from __future__ import annotations

from contextlib import AbstractContextManager

import trio

from sie.bus.contract import Elsewhere, Hint, Notice, Reminder
from sie.bus.followers import Followers


class LocalBus:
    """Hands each hint to the followers it concerns, at once, without waiting for any of them."""

    def __init__(self) -> None:
        self._followers: Followers[Notice | Elsewhere] = Followers()

    @property
    def connected(self) -> bool:
        return True

    async def publish(self, notice: Notice) -> None:
        """Never raises, never waits."""
        for bundle in notice.previous:
            self._followers.tell(bundle, notice)
        await trio.lowlevel.checkpoint()

    async def remind(self, reminder: Reminder) -> None:
        """Never raises, never waits."""
        for bundle, revision in reminder.heads.items():
            self._followers.tell(bundle, Elsewhere(reminder.store, revision))
        await trio.lowlevel.checkpoint()

    def nudge(self) -> None:
        self._followers.nudge()

    def follow(self, bundle: str) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        return self._followers.follow(bundle)
