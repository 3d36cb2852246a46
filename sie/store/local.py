"""A store in a local directory: for one machine, and safe for several processes on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from sie.catalog.entry import Entry, write_entry
from sie.errors import OutcomeUnknown, StoreUnavailable
from sie.settings import Settings
from sie.store import directory
from sie.store.legacy import LegacyStore, read_legacy

T = TypeVar("T")

_opening: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("sie.store.local opening")

# Of the time limit, the part that may go into waiting for another process's lock: the rest is for the disk, and for
# the answer "locked by another process" to arrive before the limit cuts it off.
_LOCK_SHARE = 0.8

# Entries read in one go: a few tens of ms. Between two goes a read can be cancelled, and its time limit begins anew.
_ENTRIES_AT_ONCE = 500


async def open_local(path: Path, settings: Settings) -> LocalStore:
    """Open the store in this directory, making it if it is not there.

    Raises StoreUnavailable, StoreCorrupt and ConfigurationError as `directory.prepare` does, each naming the path and
    the cure. Cancelled: whatever was made is completed by the next open.
    """
    timeout_s = settings.store_timeout_s
    prepare = partial(directory.prepare, path, patience_s=_LOCK_SHARE * timeout_s)
    store_id = await _answer(prepare, _opening_lane(), path, timeout_s)
    return LocalStore(path, store_id, timeout_s=timeout_s)


def _opening_lane() -> trio.CapacityLimiter:
    """One for the whole run: whoever opens again and again on a hung disk leaves one thread behind, not many."""
    try:
        return _opening.get()
    except LookupError:
        _opening.set(lane := trio.CapacityLimiter(1))
        return lane


class LocalStore:
    """See `Store`. Every call is bounded by `timeout_s`, also when the disk hangs and its thread cannot be stopped.

    A hung call keeps the lane: those after it say StoreUnavailable until the disk answers, and nothing overtakes it.
    """

    origin = 0
    durable = True

    def __init__(self, path: Path, store_id: str, *, timeout_s: float) -> None:
        """Use `open_local`: this expects a directory that has been looked over."""
        self.id = store_id
        self.path = path
        self._timeout_s = timeout_s
        # Threads of its own, so that no load of a model's weights is in its way; and a large snapshot in no entry's.
        self._log_lane = trio.CapacityLimiter(1)
        self._snapshot_lane = trio.CapacityLimiter(1)

    @property
    def place(self) -> str:
        return str(self.path)

    async def append(self, entry: Entry) -> None:
        """See `Store.append`. Cancelled before it began: nothing happened. After that it waits for the disk's answer,
        at most `timeout_s`, because an answer is worth more to its caller than those seconds.
        """
        if entry.revision < 1:
            raise ValueError(f"revision {entry.revision} is no entry's")
        passage = threading.Lock()  # taken once: by the thread, to let the file appear, or by us, to forbid it
        content = write_entry(entry)

        def put() -> None:
            directory.check_id(self.path, self.id)
            directory.append(
                self.path,
                entry.revision,
                content,
                patience_s=_LOCK_SHARE * self._timeout_s,
                may_land=partial(passage.acquire, blocking=False),
            )

        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.move_on_after(self._timeout_s, shield=True):
            await trio.to_thread.run_sync(put, abandon_on_cancel=True, limiter=self._log_lane)
            return
        silence = f"config store, {self.path}: no answer within {self._timeout_s:g} s"
        if passage.acquire(blocking=False):
            raise StoreUnavailable(f"{silence}; the entry was withdrawn in time")
        raise OutcomeUnknown(f"{silence}, and the entry was on its way")

    async def entries_since(self, revision: int) -> Sequence[Entry]:
        found: list[Entry] = []

        def read() -> list[Entry]:
            directory.check_id(self.path, self.id)
            return directory.read_entries(self.path, revision + len(found), most=_ENTRIES_AT_ONCE)

        while True:
            more = await self._answer(read, self._log_lane)
            found += more
            if len(more) < _ENTRIES_AT_ONCE:
                return found

    async def load_snapshot(self) -> bytes | None:
        return await self._answer(partial(directory.newest_snapshot, self.path), self._snapshot_lane)

    async def save_snapshot(self, revision: int, content: bytes) -> None:
        """See `Store.save_snapshot`. Cancelled: it may appear all the same, whole."""

        def save() -> None:
            directory.check_id(self.path, self.id)  # or the fold of one store would be taken for another's
            directory.save_snapshot(self.path, revision, content)

        await self._answer(save, self._snapshot_lane)

    async def load_legacy(self) -> LegacyStore | None:
        return await self._answer(partial(read_legacy, self.path), self._log_lane)

    async def aclose(self) -> None:
        """Nothing is held between calls."""
        await trio.lowlevel.checkpoint()

    async def _answer(self, ask: Callable[[], T], lane: trio.CapacityLimiter) -> T:
        return await _answer(ask, lane, self.path, self._timeout_s)


async def _answer(ask: Callable[[], T], lane: trio.CapacityLimiter, path: Path, timeout_s: float) -> T:
    """What `ask` returns from a thread. For reads, and for what may be done twice: a hung one is left to itself.

    Raises StoreUnavailable at the time limit.
    """
    with trio.move_on_after(timeout_s):
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=lane)
    raise StoreUnavailable(
        f"config store, {path}: no answer within {timeout_s:g} s; SIE_CONFIG_STORE_TIMEOUT_S gives it longer"
    )
