"""What every store promises. One test suite, tests/store/test_contract.py, runs over every implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sie.catalog.entry import Entry
from sie.store.legacy import LegacyStore


class Store(Protocol):
    """A log of entries, each put if absent under the next number, never rewritten, never deleted.

    Errors are StoreUnavailable (and its kinds) and RevisionTaken, never "empty": what could not be read is not absent.
    Cancelled out of any method but `append` and `save_snapshot` means that it changed nothing a reader could see.
    """

    @property
    def id(self) -> str:
        """The store's own random name, written when it was made; it tells one store from another under one address."""

    @property
    def origin(self) -> int:
        """The number before the first entry: 0 for anything durable."""

    @property
    def durable(self) -> bool:
        """Whether an entry outlives the process."""

    @property
    def place(self) -> str:
        """Where it is, for people: the path or URL, without credentials."""

    async def append(self, entry: Entry) -> None:
        """Put the entry at `entry.revision`, durably, if nothing is there. The one before it must be there.

        Raises RevisionTaken: something is there (it may be this very entry, put by an attempt that seemed to fail);
        StoreUnavailable: nothing was or will be written; OutcomeUnknown: sent, and no answer.
        Cancelled: may have happened, or may happen yet, as with OutcomeUnknown.
        """

    async def entries_since(self, revision: int) -> Sequence[Entry]:
        """Every entry after `revision`, in order, without gaps, up to the first that is absent.

        What it returns is as durable as what `append` wrote, whoever wrote it. Raises StoreUnavailable, and
        StoreCorrupt naming an object that is torn, foreign, of an unknown format or at another's number; StoreReplaced
        if another store lies there by now, which `append` may raise as well.
        """

    async def load_snapshot(self) -> bytes | None:
        """The newest intact snapshot, or None if there is none: the log has everything.

        A torn one is skipped with a warning that names it. Raises StoreCorrupt for one of an unknown format.
        """

    async def save_snapshot(self, revision: int, content: bytes) -> None:
        """Keep this fold of the entries up to `revision`, and the one before it.

        Raises StoreUnavailable. Failing costs a longer start, nothing else. Cancelled: it may appear, whole.
        """

    async def load_legacy(self) -> LegacyStore | None:
        """What SIE v0.1.10 left at the same place, None if it never was there. Raises StoreUnavailable."""

    async def aclose(self) -> None:
        """Let go of what is held. Anything appended stays."""
