"""A store that lives as long as its process: what runs when no store is configured."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import trio

from sie.catalog.entry import Entry
from sie.errors import RevisionTaken
from sie.store.legacy import LegacyStore


class MemoryStore:
    """Entries in a list. Its id is new in every process.

    Its numbers start at the Unix time in ms, so that they never go back for a worker that outlives this process.
    """

    durable = False
    place = "memory"

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        """`now`: the Unix time in seconds, read once."""
        self.id = secrets.token_hex(16)
        self.origin = int(now() * 1000)
        self._entries: list[Entry] = []
        self._snapshot: tuple[int, bytes] | None = None

    async def append(self, entry: Entry) -> None:
        """Cancelled: nothing happened."""
        await trio.lowlevel.checkpoint()
        head = self.origin + len(self._entries)
        if self.origin < entry.revision <= head:
            raise RevisionTaken(f"{entry.revision} is taken")
        if entry.revision != head + 1:
            raise ValueError(f"revision {entry.revision} cannot follow {head}")
        self._entries.append(entry)

    async def entries_since(self, revision: int) -> Sequence[Entry]:
        await trio.lowlevel.checkpoint()
        return self._entries[max(0, revision - self.origin) :]

    async def load_snapshot(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._snapshot[1] if self._snapshot is not None else None

    async def save_snapshot(self, revision: int, content: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._snapshot is None or revision >= self._snapshot[0]:
            self._snapshot = (revision, content)

    async def load_legacy(self) -> LegacyStore | None:
        await trio.lowlevel.checkpoint()
        return None

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
