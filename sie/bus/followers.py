"""Those who listen, by what they follow. None of them is ever waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

import trio

from sie.bus.contract import Nudge

T = TypeVar("T")

# A follower this far behind is told to read the truth instead.
_WAITING = 1024


class Followers(Generic[T]):
    """Hands out what is told, at once. Whoever falls too far behind loses the oldest, and finds a Nudge at the end."""

    def __init__(self) -> None:
        self._ends: dict[str, dict[_Ends[T], None]] = {}  # in the order they came

    @contextmanager
    def follow(self, topic: str) -> Iterator[trio.MemoryReceiveChannel[T | Nudge]]:
        ends: _Ends[T] = trio.open_memory_channel["T | Nudge"](_WAITING)  # spelled out, the type costs 50 us each time
        everybody = self._ends.setdefault(topic, {})
        everybody[ends] = None
        with ends[0], ends[1]:
            try:
                yield ends[1]
            finally:
                del everybody[ends]
                if not everybody and self._ends.get(topic) is everybody:
                    del self._ends[topic]

    @property
    def topics(self) -> Sequence[str]:
        """What somebody follows."""
        return list(self._ends)

    def tell(self, topic: str, what: T) -> None:
        for ends in self._ends.get(topic, ()):
            _put(ends, what)

    def nudge(self, topic: str | None = None) -> None:
        """Have the followers of a topic, or all of them, read the truth."""
        for one in self.topics if topic is None else [topic]:
            for ends in self._ends.get(one, ()):
                _put(ends, Nudge())


_Ends: TypeAlias = tuple[trio.MemorySendChannel[T | Nudge], trio.MemoryReceiveChannel[T | Nudge]]


def _put(ends: _Ends[T], what: T | Nudge) -> None:
    send, receive = ends
    try:
        send.send_nowait(what)
    except trio.WouldBlock:
        receive.receive_nowait()  # the oldest makes room for a word to read the truth, which has it all
        send.send_nowait(Nudge())
