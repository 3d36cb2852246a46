# Rule: what may be believed of a bucket, and when, stands here; how a call travels stands in s3.py and gcs.py.
"""A store in a bucket: the log's protocol, once, for every service that can put an object only if it is absent."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from sie.catalog.entry import Entry, write_entry
from sie.errors import OutcomeUnknown, RevisionTaken, StoreUnavailable
from sie.settings import Settings
from sie.store import bucket as steps
from sie.store.bucket import Bucket, entry_name, snapshot_name
from sie.store.layout import unframe_snapshot
from sie.store.legacy import LegacyStore

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_WINDOW = 2  # most often a reader lacks no entry, or one; and a GET costs money
_WINDOW = 16  # GETs at once; more gain nothing, for by then the client library's own time is the limit
# Puts at once. The writer has one; when that hangs, its next try must not wait behind it.
_WRITES = 4
# Seconds before the second and the third try of what may be done twice. The longer one is for a service that refuses
# a second write to one object within a second, which routers that open the store together may bring about.
_PAUSES_S = (0.1, 1.2)

_opening: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("sie.store.objects opening")


async def open_objects(
    connect: Callable[[], Bucket], place: str, settings: Settings, *, only_read: bool = False
) -> ObjectStore:
    """Open the store at this place, making it if it is not there. `connect` may block: it is called in a thread.

    `only_read`: nothing is put there, now or later, and it must be there.
    Raises StoreUnavailable, StoreCorrupt and ConfigurationError as `bucket.prepare` does, and what `connect` raises.
    Cancelled: whatever was made is completed by the next open.
    """
    timeout_s, lane = settings.store_timeout_s, _opening_lane()
    bucket = await _answer(connect, lane, place, timeout_s)
    try:
        first = steps.find_id if only_read else steps.prepare
        store_id = await _answer(partial(first, bucket), lane, place, timeout_s)
    except BaseException:
        bucket.close()
        raise
    return ObjectStore(bucket, store_id, timeout_s=timeout_s, snapshot_timeout_s=settings.snapshot_timeout_s)


def _opening_lane() -> trio.CapacityLimiter:
    """One for the whole run: whoever opens again and again at a dead address leaves one thread behind, not many."""
    try:
        return _opening.get()
    except LookupError:
        _opening.set(lane := trio.CapacityLimiter(1))
        return lane


class ObjectStore:
    """See `Store`. Every call is bounded by a time limit, also when its thread hangs and cannot be stopped.

    There is nothing to lock here, so that a store which is emptied, replaced or set back under running processes must
    be noticed: its id, and the entry the caller stands on, are read before each write and after each read of the log,
    and StoreCorrupt names what is wrong. Only a replacement in the milliseconds between look and write goes unseen.
    """

    origin = 0
    durable = True

    def __init__(self, bucket: Bucket, store_id: str, *, timeout_s: float, snapshot_timeout_s: float) -> None:
        """Use `open_objects`: this expects a service that has been put to the proof."""
        self.id = store_id
        self._bucket = bucket
        self._timeout_s = timeout_s
        self._snapshot_timeout_s = snapshot_timeout_s
        self._last = (0, "")  # number and write_id of the newest entry that was seen in the log
        # Threads of its own, so that no load of a model's weights is in its way. A hung one keeps its place until its
        # connection's time limit; those after it take the other places.
        self._read_lane = trio.CapacityLimiter(_WINDOW)
        self._write_lane = trio.CapacityLimiter(_WRITES)
        self._snapshot_lane = trio.CapacityLimiter(1)

    @property
    def place(self) -> str:
        return self._bucket.place

    # -- the log

    async def append(self, entry: Entry) -> None:
        """See `Store.append`. Cancelled before the put begins: nothing happened. After that it waits for the answer,
        at most the time limit, because an answer is worth more to its caller than those seconds.
        """
        if entry.revision < 1:
            raise ValueError(f"revision {entry.revision} is no entry's")
        await self._look(entry.revision - 1)
        if not await self._put(entry_name(entry.revision), write_entry(entry)):
            raise RevisionTaken(f"{self.place}/{entry_name(entry.revision)} is there")
        self._saw(entry)

    async def entries_since(self, revision: int) -> Sequence[Entry]:
        found: list[Entry] = []
        window = _FIRST_WINDOW
        while True:
            more = await self._entries(revision + len(found) + 1, window)
            found += more
            if len(more) < window:
                break
            window = _WINDOW
        await self._look(revision)
        for entry in found[-1:]:
            self._saw(entry)
        return found

    async def _entries(self, first: int, most: int) -> list[Entry]:
        """The entries from `first` on, at most so many, up to the first that is absent."""
        entries: list[Entry] = []
        for answer in await self._all([partial(steps.entry_at, self._bucket, first + n) for n in range(most)]):
            if isinstance(answer, StoreUnavailable):
                raise answer
            if answer is None:
                break
            entries.append(answer)
        return entries

    async def _look(self, revision: int) -> None:
        """Raises StoreCorrupt unless this is the store that was opened, and entry `revision` is there as it was."""
        confirmations = [partial(steps.confirm_id, self._bucket, self.id)]
        if revision > 0:
            last, write_id = self._last
            known = write_id if revision == last else None
            confirmations.append(partial(steps.confirm_entry, self._bucket, revision, known))
        for fault in await self._all(confirmations):
            if fault is not None:
                raise fault

    def _saw(self, entry: Entry) -> None:
        self._last = max(self._last, (entry.revision, entry.write_id))

    async def _put(self, name: str, content: bytes) -> bool:
        """Put it, once; False if something is there. Raises as `append` does."""
        passage = threading.Lock()  # taken once: by the thread, to let the put go out, or by us, to forbid it

        def put() -> bool:
            return passage.acquire(blocking=False) and self._bucket.put_if_absent(name, content)

        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.move_on_after(self._timeout_s, shield=True):
            return await trio.to_thread.run_sync(put, abandon_on_cancel=True, limiter=self._write_lane)
        silence = _silence(self.place, self._timeout_s)
        if passage.acquire(blocking=False):
            raise StoreUnavailable(f"{silence}; the entry was withdrawn in time")
        raise OutcomeUnknown(f"{silence}, and the entry was on its way")

    # -- snapshots

    async def load_snapshot(self) -> bytes | None:
        for revision in await self._ask(partial(steps.snapshots, self._bucket)):
            name = snapshot_name(revision)
            get = partial(self._bucket.get, name)
            framed = await _answer(get, self._snapshot_lane, self.place, self._snapshot_timeout_s)
            if framed is None:  # newer ones have replaced it since it was listed
                continue
            unframe = partial(unframe_snapshot, framed, name=f"{self.place}/{name}", revision=revision)
            content = await trio.to_thread.run_sync(unframe, limiter=self._snapshot_lane)
            if content is not None:
                return content
            log.warning("%s/%s is torn or not ours, going back", self.place, name)
        return None

    async def save_snapshot(self, revision: int, content: bytes) -> None:
        """See `Store.save_snapshot`. Cancelled, or beyond the time limit: it may appear all the same, whole."""
        await self._look(revision)
        save = partial(steps.save_snapshot, self._bucket, revision, content)
        await _answer(save, self._snapshot_lane, self.place, self._snapshot_timeout_s)

    # -- what SIE v0.1.10 left

    async def load_legacy(self) -> LegacyStore | None:
        names = await self._ask(partial(steps.legacy_names, self._bucket))
        epoch = await self._ask(partial(steps.legacy_epoch, self._bucket))
        if not names and epoch is None:
            return None
        documents: list[tuple[str, bytes]] = []
        for first in range(0, len(names), _WINDOW):
            some = names[first : first + _WINDOW]
            for answer in await self._all([partial(steps.legacy_document, self._bucket, name) for name in some]):
                if isinstance(answer, StoreUnavailable):
                    raise answer
                documents.append(answer)
        return LegacyStore(epoch=epoch or 0, documents=tuple(sorted(documents)))

    async def aclose(self) -> None:
        """Idle connections are let go of; a thread that hangs in one ends at that connection's time limit."""
        self._bucket.close()
        await trio.lowlevel.checkpoint()

    # -- asking

    async def _ask(self, ask: Callable[[], T]) -> T:
        return await _answer(ask, self._read_lane, self.place, self._timeout_s)

    async def _all(self, asks: Sequence[Callable[[], T]]) -> list[T | StoreUnavailable]:
        """Each one's answer, or what it raised instead, in their order; all of them are under way at once."""
        answers: dict[int, T | StoreUnavailable] = {}

        async def one(n: int, ask: Callable[[], T]) -> None:
            try:
                answers[n] = await self._ask(ask)
            except StoreUnavailable as fault:
                answers[n] = fault

        async with trio.open_nursery() as nursery:
            for n, ask in enumerate(asks):
                nursery.start_soon(one, n, ask)
        return [answers[n] for n in range(len(asks))]


async def _answer(ask: Callable[[], T], lane: trio.CapacityLimiter, place: str, timeout_s: float) -> T:
    """What `ask` returns from a thread. For what may be done twice: silence is asked again, a hung thread left alone.

    Raises StoreUnavailable: refused, silent each time, or not done within the time limit for all of it.
    """
    with trio.move_on_after(timeout_s):
        for pause_s in (*_PAUSES_S, None):
            try:
                return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=lane)
            except OutcomeUnknown as fault:
                if pause_s is None:
                    raise StoreUnavailable(fault.message) from fault
                log.debug("asking again: %s", fault.message)
                await trio.sleep(random.uniform(pause_s / 2, pause_s))
    raise StoreUnavailable(_silence(place, timeout_s))


def _silence(place: str, timeout_s: float) -> str:
    return f"config store, {place}: no answer within {timeout_s:g} s"
