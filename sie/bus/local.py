"""The bus inside one process: no broker, the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from sie.bus.contract import Hint, Notice, Nudge

# A follower this far behind is told to read the fold instead.
_HINTS_WAITING = 1024


class LocalBus:
    """Hands each hint to the followers it concerns, at once, without waiting for any of them."""

    def __init__(self) -> None:
        self._followers: dict[str, set[_Follower]] = {}

    @property
    def connected(self) -> bool:
        return True

    async def publish(self, notice: Notice) -> None:
        """Never raises, never waits."""
        for bundle in notice.previous:
            self._tell(bundle, notice)
        await trio.lowlevel.checkpoint()

    def nudge(self) -> None:
        for bundle in self._followers:
            self._tell(bundle, Nudge())

    def _tell(self, bundle: str, hint: Hint) -> None:
        for follower in self._followers.get(bundle, ()):
            follower.tell(hint)

    @contextmanager
    def follow(self, bundle: str) -> Iterator[trio.MemoryReceiveChannel[Hint]]:
        follower = _Follower()
        followers = self._followers.setdefault(bundle, set())
        followers.add(follower)
        with follower.send, follower.receive:
            try:
                yield follower.receive
            finally:
                followers.discard(follower)


class _Follower:
    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[Hint](_HINTS_WAITING)

    def tell(self, hint: Hint) -> None:
        try:
            self.send.send_nowait(hint)
        except trio.WouldBlock:
            self.receive.receive_nowait()  # the oldest makes room for a word to read the truth, which has it all
            self.send.send_nowait(Nudge())
