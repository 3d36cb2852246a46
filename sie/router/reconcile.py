"""Reconcile: what the bus lost is found in the store, and what workers missed is said again."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import trio

from sie.errors import BusUnavailable, ShuttingDown, SieError, StoreUnavailable
from sie.router.fleet import Fleet
from sie.router.writer import Writer
from sie.settings import Settings
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp

if TYPE_CHECKING:
    from sie.bus.nats import NatsBus

log = logging.getLogger(__name__)


class Reconcile:
    """Keeps a router level with its store, and its workers with it. `nats`: None where only the store is shared."""

    def __init__(self, *, writer: Writer, fleet: Fleet, nats: NatsBus | None, settings: Settings) -> None:
        self._writer = writer
        self._fleet = fleet
        self._nats = nats
        self._settings = settings

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: hear other routers, answer who catches up, and look at the store now and then."""
        async with trio.open_nursery() as nursery:
            if self._nats is not None:
                nursery.start_soon(self._hear_routers, self._nats)
                nursery.start_soon(self._nats.serve_sync, self.answer_sync)
            nursery.start_soon(self._look_now_and_then)
            task_status.started()

    async def answer_sync(self, request: SyncRequest) -> CaughtUp:
        """What the asker lacks, by the store's newest state. Raises StoreUnavailable."""
        head = self._writer.head
        await self._writer.refresh()
        if request.bundle not in head.catalog.bundles:
            return CaughtUp(store=head.store_id, revision=head.revision, models=())
        since, store = request.since, request.store
        if request.digest and since == head.catalog.bundle_head(request.bundle):
            # Level by number and different by content: what differs cannot be told, so all of it is said again.
            since = since if request.digest == head.catalog.digest(request.bundle) else -1
        return await head.catch_up(request.bundle, store, since)

    async def _hear_routers(self, nats: NatsBus) -> None:
        """A router takes only the news from the bus; the content it reads in the store. A reconnect is news as well."""
        with nats.follow_all() as hints:
            async for _ in hints:
                while hints.statistics().current_buffer_used:
                    hints.receive_nowait()  # one look answers all that is waiting
                await self._look()

    async def _look_now_and_then(self) -> None:
        while True:
            # Jittered: a cluster that started together must not read together for ever.
            await trio.sleep(self._settings.reconcile_s * random.uniform(0.8, 1.2))
            await self._look()

    async def _look(self) -> None:
        try:
            await self._writer.refresh()
        except (StoreUnavailable, ShuttingDown) as fault:
            log.debug("the config store cannot be read: %s", fault.message)
            return
        if self._nats is not None:
            await self._tell_those_behind(self._nats)

    async def _tell_those_behind(self, nats: NatsBus) -> None:
        """Say the newest entry of a bundle again if a worker has not got so far: it finds the gap and catches up."""
        head = self._writer.head
        behind = {
            worker.bundle
            for worker in self._fleet.workers
            if worker.bundle in head.catalog.bundles
            and not worker.by_hash
            and (worker.store != head.store_id or worker.revision < head.catalog.bundle_head(worker.bundle))
        }
        for notice in {id(one): one for bundle in behind if (one := head.newest.get(bundle))}.values():
            try:
                await nats.publish(notice)
            except BusUnavailable as lost:
                log.debug("revision %d is said again later: %s", notice.entry.revision, lost)
            except SieError as fault:
                log.warning("revision %d cannot be said again: %s", notice.entry.revision, fault.message)
