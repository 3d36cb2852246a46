"""The head: this process's fold of the store, and where it stands. The writer's task is its one owner."""

from __future__ import annotations

import datetime
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import trio

from sie.bus.contract import Notice, Reminder
from sie.catalog.canonical import Json
from sie.catalog.catalog import Catalog
from sie.catalog.change import ChangeLimits
from sie.catalog.entry import Entry
from sie.catalog.judge import Verdict, draft
from sie.catalog.keys import Keys, Remembered, UnchangedKeys
from sie.catalog.model import Model
from sie.catalog.snapshot import Snapshot, read_snapshot, write_snapshot
from sie.errors import (
    ConfigurationError,
    IdempotencyMismatch,
    ModelNotFound,
    OutcomeUnknown,
    ProfileNotFound,
    StoreReplaced,
    StoreUnavailable,
)
from sie.flow import Commit, Order
from sie.router.fleet import Needed
from sie.router.foreign import Foreign
from sie.router.watch import Watch
from sie.settings import Settings
from sie.store.append import append_surely
from sie.store.contract import Store
from sie.turns import in_turns
from sie.worker.follow import Part

log = logging.getLogger(__name__)

# Entries that could not be published and wait for the bus to come back; those beyond it are found by their numbers.
_UNSAID_MOST = 1000


class Head:
    """Holds the catalog and the idempotency keys as of `revision`; both change between awaits only.

    Whoever reads `catalog` sees the fold of some prefix of the log, at any moment. Reading a snapshot replaces it.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: Store | None,
        *,
        open_store: Callable[[], Awaitable[Store]],
        nudge: Callable[[], None],
        watch: Watch,
        limits: ChangeLimits,
        settings: Settings,
        router_id: str,
    ) -> None:
        self.catalog = catalog
        self.foreign = Foreign(lambda: self.catalog, most=settings.foreign_stores)
        self.limits = limits
        self.router_id = router_id
        self.folded = False
        self._open_store = open_store
        self._nudge = nudge  # called when entries were read that this process did not write
        self._store = store
        self._settings = settings
        self.trouble: str | None = None  # why the store cannot be used right now, for /readyz
        if store is None:
            self.trouble = "it has not been reached yet"
        else:
            catalog.own = store.id
        self._keys = Keys(settings.keys_kept)
        self._unchanged = UnchangedKeys(settings.unchanged_keys_s)
        self._snapshot_at = 0
        self._watch = watch
        self._moved = trio.Event()
        self._saving = False
        self._doubtful: Entry | None = None
        self.newest: dict[str, Notice] = {}  # the newest entry that touched a bundle, of those seen one by one
        self.unsaid: deque[Notice] = deque(maxlen=_UNSAID_MOST)

    @property
    def revision(self) -> int:
        return self.catalog.head

    @property
    def store_id(self) -> str:
        """ "" while the store has not been reached."""
        return self._store.id if self._store is not None else ""

    @property
    def durable(self) -> bool:
        """Whether there is a store that outlives the process."""
        return self._store is not None and self._store.durable

    @property
    def in_memory(self) -> bool:
        """Whether the store is this process's own memory, which there is nothing to wait for."""
        return self._store is not None and not self._store.durable

    @property
    def store(self) -> Store:
        """Raises StoreUnavailable before the store has been reached."""
        if self._store is None:
            raise StoreUnavailable(self.trouble or "the config store has not been reached yet")
        return self._store

    @contextmanager
    def looking_up(self) -> Iterator[None]:
        """What is not found in the block may be in a store that was to be read first and has not been: "not there"
        would be a lie then. Raises StoreUnavailable instead of it."""
        try:
            yield
        except (ModelNotFound, ProfileNotFound) as fault:
            if self._settings.restore and not self.folded:
                raise StoreUnavailable(
                    f"not known here, and the config store has not been read yet: {fault.message}", retry_after_s=1
                ) from fault
            raise

    # -- reading

    async def reach(self) -> None:
        """Open the store if it was away at start. Raises StoreUnavailable, and StoreCorrupt for one not to be used."""
        if self._store is None:
            self._store = await self._opened()
            assert self._store.origin == self.revision, "a store that can be away numbers its entries from 1"
            self.catalog = self.catalog.without_log(self._store.id)
            self._nudge()

    async def _opened(self) -> Store:
        with self._noting_trouble():
            try:
                return await self._open_store()
            except ConfigurationError as fault:  # found out late: what this process serves by now goes on
                raise StoreUnavailable(str(fault)) from fault

    async def read_on(self) -> None:
        """Fold what the store has and we have not: everything the first time, the tail after that.

        A store that was wiped and begun anew is taken up as it is now: what is not in it is not served any more.
        Raises StoreUnavailable. Then, or cancelled, the head stands where it stood or further on, and stays usable.
        """
        await self.reach()
        try:
            await self._read_tail()
        except StoreReplaced as fault:
            log.error("%s; what the store held is gone, and what it holds now counts", fault.message)
            await self._begin_anew()
            await self._read_tail()

    async def _begin_anew(self) -> None:
        outdated = self.store
        self._store = await self._opened()
        await outdated.aclose()
        self.catalog = self.catalog.without_log(self._store.id)
        self._keys = Keys(self._settings.keys_kept)
        self._unchanged = UnchangedKeys(self._settings.unchanged_keys_s)
        self._snapshot_at, self.folded, self._doubtful = 0, False, None
        self.newest.clear()
        self.unsaid.clear()
        self._nudge()

    async def _read_tail(self) -> None:
        before = self.revision
        try:
            with self._noting_trouble():
                if not self.folded and (content := await self.store.load_snapshot()) is not None:
                    catalog, self._keys = await trio.to_thread.run_sync(self._restored, content)
                    catalog.hear_all(self.catalog)  # what other stores said meanwhile is known only here
                    self.catalog = catalog
                    self._snapshot_at = self.revision
                    self._watch.begin(self.store_id, self.revision)
                    self._wake()
                await in_turns(await self.store.entries_since(self.revision), self._take)
        finally:
            if self.revision > before:
                self._nudge()
        self._watch.begin(self.store_id, self.revision)
        if not self.folded:
            self.folded = True
            for model_id in sorted(self.catalog.differing_files):
                log.warning("the file of %s says otherwise than the config store, which wins", model_id)

    def _take(self, entry: Entry) -> None:
        """An entry that was read. Whoever wrote it tells of it; if that was this process, it was in doubt about it."""
        notice = self.advance(entry)
        for bundle in notice.previous:
            self.catalog.digest(bundle)  # asked for here, so that a long log is not hashed at once in the end
        if entry.router_id == self.router_id and entry.marker is None:
            self.unsaid.append(notice)

    async def wait_revision(self, revision: int) -> None:
        """Return once the catalog is the fold of so many entries."""
        while self.revision < revision:
            await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    # -- other stores

    def hear(self, notice: Notice) -> bool:
        """Take on an entry of another store; False: something before it must be asked for first."""
        complete = self.foreign.heard(notice)
        self._nudge()
        return complete

    async def take_on(self, parts: Sequence[Part]) -> None:
        """What another router knows of stores that are not ours. Cancelled: some of it is known early."""
        surplus = await self.foreign.take([part for part in parts if part.store != self.store_id])
        if surplus is not None:
            self.foreign.forget(surplus)
            self.catalog = self.catalog.without(surplus)
        self._nudge()

    # -- one order

    def repeated(self, order: Order) -> Commit | None:
        """The outcome of an earlier order with the same Idempotency-Key. Raises IdempotencyMismatch if it said else."""
        if order.key is None:
            return None
        known = self._keys.find(order.key) or self._unchanged.find(order.key, now=trio.current_time())
        if known is None:
            return None
        if known.body_hash != order.change.body_hash:
            raise IdempotencyMismatch(
                "this Idempotency-Key was used with another body; use a new key for a new change",
                idempotency_key=order.key,
            )
        return replace(self._outcome(known), dry_run=order.dry_run)

    def unchanged(self, order: Order, verdict: Verdict) -> Commit:
        """An order that adds nothing, or may not: its outcome, remembered for a while under its key."""
        found = Remembered(
            body_hash=order.change.body_hash,
            status=201 if verdict.created else 200,
            created=verdict.created,
            skipped=verdict.skipped,
            revision=self.revision,
            model_id=verdict.model.sie_id,
        )
        if order.dry_run:
            return self._rehearsed(verdict, found)
        if order.key is not None:
            self._unchanged.remember(order.key, found, now=trio.current_time())
        return self._outcome(found)

    def entry(self, order: Order, verdict: Verdict) -> Entry:
        """The entry that would make the verdict true, at the next number."""
        return draft(
            verdict,
            **self._signature(),
            body_hash=order.change.body_hash,
            idempotency_key=order.key,
        ).placed(self.revision + 1)

    def marker(self, **content: Json) -> Entry:
        """An entry that changes no model, at the next number."""
        signature = self._signature()
        return Entry(
            model_id="",
            profiles={},
            fields={},
            marker=content,
            write_id=signature["write_id"],
            time=signature["time"],
            router_id=signature["router_id"],
        ).placed(self.revision + 1)

    def imported(self) -> bool:
        """Whether the log holds all of an older store that lay at the same place."""
        return self.catalog.imported_epoch is not None

    async def append(self, entry: Entry, *, deadline: float) -> None:
        """Make it durable. Raises RevisionTaken, StoreUnavailable (nothing happened) or OutcomeUnknown.

        Cancelled: it may have happened, or happen yet; `read_on` tells.
        """
        with self._noting_trouble():
            try:
                await append_surely(self.store, entry, deadline=deadline)
            except OutcomeUnknown:
                self._doubtful = entry
                raise

    @property
    def in_doubt(self) -> Entry | None:
        """An entry that was sent, whose number is nobody's as far as is known: it may land yet."""
        entry = self._doubtful
        return entry if entry is not None and entry.revision == self.revision + 1 else None

    def advance(self, entry: Entry) -> Notice:
        """Apply an entry that is durable now, and say what is to be told of it."""
        notice = Notice(store=self.store_id, entry=entry, previous=self.catalog.previous(entry))
        self.catalog.advance(entry)
        self._keys.remember(entry)
        self.newest.update(dict.fromkeys(notice.previous, notice))
        self._watch.tell(entry, self.store_id)
        self._wake()
        return notice

    def reminder(self, commit: Commit) -> Reminder:
        """What is to be told of a change that was there already."""
        return Reminder(
            store=self.store_id,
            model_id=commit.model_id,
            profiles=(*commit.created, *commit.skipped),
            heads={bundle: self.catalog.bundle_head(bundle) for bundle in commit.needed.bundles},
        )

    def committed(self, entry: Entry, *warnings: str) -> Commit:
        """The outcome of an entry that is in the log."""
        return self._outcome(Remembered.of(entry), *warnings)

    async def aclose(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            await self._store.aclose()

    # -- snapshots

    @property
    def snapshot_due(self) -> bool:
        fresh = self.revision - self._snapshot_at
        return self.folded and self.durable and not self._saving and fresh >= self._settings.snapshot_every

    async def save_snapshot(self) -> None:
        """Shorten the next start; the catalog may go on meanwhile. Failing is logged and costs nothing else.

        Cancelled: it may appear all the same, whole.
        """
        snapshot = Snapshot.of(self.catalog, self._keys)
        self._snapshot_at, self._saving = snapshot.revision, True
        try:
            content = await trio.to_thread.run_sync(write_snapshot, snapshot)
            await self.store.save_snapshot(snapshot.revision, content)
        except StoreUnavailable as fault:
            log.warning("no snapshot of revision %d: %s", snapshot.revision, fault.message)
        finally:
            self._saving = False

    # -- inside

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        """Keep what `/readyz` says of the store true: what it refuses in the block, or nothing once that went well."""
        try:
            yield
        except StoreUnavailable as fault:
            self.trouble = fault.message
            raise
        self.trouble = None

    def _restored(self, content: bytes) -> tuple[Catalog, Keys]:
        """A snapshot made into a catalog beside the one that is served: half of one is the fold of nothing. Blocks."""
        catalog, keys = self.catalog.files_only(), Keys(self._settings.keys_kept)
        catalog.own = self.store_id
        read_snapshot(content).restore(catalog, keys)
        for bundle in catalog.bundles:
            catalog.digest(bundle)  # asked for here: all models hashed at once would stop the loop for seconds
        return catalog, keys

    def _signature(self) -> dict[str, str]:
        return {
            "write_id": secrets.token_hex(16),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "router_id": self.router_id,
        }

    def _outcome(self, found: Remembered, *warnings: str) -> Commit:
        model = self.catalog.find(found.model_id)
        assert model is not None, f"{found.model_id} was committed and is not in the catalog"
        needed = {self.store_id: found.revision} if found.status == 201 else self._known_by(model)
        return replace(self._commit(model, found, needed=needed), warnings=warnings)

    def _rehearsed(self, verdict: Verdict, found: Remembered) -> Commit:
        needed = {self.store_id: self.revision + 1} if verdict.changes else self._known_by(verdict.model)
        return replace(self._commit(verdict.model, found, needed=needed), dry_run=True)

    def _known_by(self, model: Model) -> Mapping[str, int]:
        """Up to which revision a worker must know each store to know the model."""
        return model.revisions or {self.store_id: model.revision}

    def _commit(self, model: Model, found: Remembered, *, needed: Mapping[str, int]) -> Commit:
        """`needed`: the revisions a worker must have reached to count as confirming."""
        return Commit(
            status=found.status,
            model_id=model.sie_id,
            created=found.created,
            skipped=found.skipped,
            revision=found.revision,
            routable={profile: self.catalog.bundles_of(model, profile) for profile in found.created},
            needed=Needed(
                revisions=needed,
                model=model.sie_id,
                profiles=(*found.created, *found.skipped),
                bundles=self.catalog.bundles_of(model),
            ),
        )
