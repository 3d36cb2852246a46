"""Reconcile: what the bus lost is found in the store, or at other routers, and what others missed is said again."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import trio

from sie.bus.contract import Elsewhere, Hint, Nudge
from sie.errors import BusUnavailable, ShuttingDown, SieError, StoreUnavailable
from sie.router.fleet import Fleet
from sie.router.sync import catch_up
from sie.router.writer import Writer
from sie.settings import Settings
from sie.store.open import is_shared
from sie.wire.heads import Heads
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp

if TYPE_CHECKING:
    from sie.bus.nats import NatsBus

log = logging.getLogger(__name__)

_NAMED = 100  # strange stores; a crowd of invented ones must not fill the log


class Reconcile:
    """Keeps a router level with its store, and others with it. `nats`: None where only the store is shared.

    A router whose store is shared takes only news from the bus, and content from the store. One whose store is its own
    also takes on what routers with other stores say, see `Foreign`.
    """

    def __init__(self, *, writer: Writer, fleet: Fleet, nats: NatsBus | None, settings: Settings) -> None:
        self._writer = writer
        self._fleet = fleet
        self._nats = nats
        self._settings = settings
        self._alone = not is_shared(settings)  # whether other routers' stores count here
        self._taking = trio.Lock()  # what is heard of other stores must not be lost under an older whole of it
        self._strange: set[str] = set()  # stores that were named here, do not count, and were told of in the log

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: hear other routers, answer who catches up, and look at the store now and then."""
        async with trio.open_nursery() as nursery:
            if self._nats is not None:
                nursery.start_soon(self._hear_routers, self._nats)
                nursery.start_soon(self._hear_heads, self._nats)
                nursery.start_soon(self._nats.serve_sync, self.answer_sync)
                nursery.start_soon(self._share_answering, self._nats)
            nursery.start_soon(self._look_now_and_then)
            task_status.started()

    async def answer_sync(self, request: SyncRequest) -> CaughtUp:
        """What the asker lacks, by the store's newest state. Raises StoreUnavailable."""
        await self._writer.refresh()
        return await catch_up(self._writer.head, request.bundle, request.known, request.digest)

    async def _share_answering(self, nats: NatsBus) -> None:
        """A router that knows its own store only would have followers drop what they know of others."""
        connection = nats.connection
        while not connection.connected:
            connection = await nats.wait_changed(connection)
        if self._alone:
            await trio.sleep(self._settings.nats_acquaint_s)
        with nats.sharing():
            await trio.sleep_forever()

    # -- hearing

    async def _hear_routers(self, nats: NatsBus) -> None:
        """What routers publish. One look at the store answers all that is waiting; a reconnect is news as well."""
        with nats.follow_all() as hints:
            async for hint in hints:
                heard = [hint]
                while hints.statistics().current_buffer_used:
                    heard.append(hints.receive_nowait())
                complete = [await self._hear(one) for one in heard]
                if not all(complete):
                    await self._say_heads(nats, asks=True)
                if any(self._concerns_store(one) for one in heard):
                    await self._look()
                if any(isinstance(one, Nudge) for one in heard):
                    await self._tell_those_behind(nats)

    def _concerns_store(self, hint: Hint) -> bool:
        return isinstance(hint, Nudge) or not self._alone or hint.store == self._writer.head.store_id

    async def _hear(self, hint: Hint) -> bool:
        """False: it shows that something was missed which another router can tell."""
        await trio.lowlevel.checkpoint()
        head = self._writer.head
        if isinstance(hint, Nudge) or self._concerns_store(hint):
            return True
        if isinstance(hint, Elsewhere):
            return not head.foreign.lacks({hint.store: hint.revision})
        async with self._taking:
            return head.hear(hint)

    async def _hear_heads(self, nats: NatsBus) -> None:
        """Where other routers stand. Whoever comes asks all, and is told by all."""
        with nats.follow_heads() as heads:
            async for one in heads:
                if isinstance(one, Nudge):
                    await self._say_heads(nats, asks=True)
                    continue
                if one.asks:
                    await self._say_heads(nats)
                await self._compare(one, nats)

    async def _compare(self, heads: Heads, nats: NatsBus) -> None:
        head = self._writer.head
        if not self._alone and heads.store != head.store_id and heads.store not in self._strange:
            await self._look()  # ours may have been wiped, and begun anew by that router
            if heads.store != head.store_id and len(self._strange) < _NAMED:
                self._strange.add(heads.store)
                log.warning(
                    "router %s is on this NATS with another store than ours, %s: neither knows the other's models",
                    heads.router_id,
                    head.store_id,
                )
        if heads.known.get(head.store_id, 0) > head.revision:
            await self._look()
        if self._alone:
            head.foreign.alive(heads.store)
            if head.foreign.lacks({store: at for store, at in heads.known.items() if store != head.store_id}):
                try:
                    caught_up = await nats.sync_with(heads.address, head.foreign.known)
                    async with self._taking:
                        await head.take_on(caught_up.parts)
                except BusUnavailable as fault:
                    log.debug("router %s cannot be asked what it knows: %s", heads.router_id, fault.message)

    # -- telling

    async def _look_now_and_then(self) -> None:
        while True:
            # Jittered: a cluster that started together must not read together for ever.
            await trio.sleep(self._settings.reconcile_s * random.uniform(0.8, 1.2))
            await self._look()
            if self._nats is not None:
                await self._tell_those_behind(self._nats)
                await self._say_heads(self._nats)

    async def _look(self) -> None:
        """Read what the store has by now. What another router has written, that router tells; nobody says it after it:
        routers that answer each other's news with news would never be done."""
        store = self._writer.head.store_id
        try:
            await self._writer.refresh()
        except (StoreUnavailable, ShuttingDown) as fault:
            log.debug("the config store cannot be read: %s", fault.message)
            return
        if self._nats is not None and self._writer.head.store_id != store:
            await self._say_heads(self._nats, asks=True)  # others may know what the one before it said

    async def _say_heads(self, nats: NatsBus, *, asks: bool = False) -> None:
        """Where this router stands: whoever has less looks for the rest, and who has another store's learns that."""
        head = self._writer.head
        if not head.store_id or (not head.folded and head.durable):
            return  # it does not know yet
        heads = Heads(
            router_id=head.router_id,
            address=nats.address,
            store=head.store_id,
            bundles={bundle: head.catalog.bundle_head(bundle) for bundle in head.catalog.bundles},
            known={head.store_id: head.revision, **head.foreign.known},
            asks=asks and self._alone,
        )
        try:
            await nats.say_heads(heads)
        except BusUnavailable as lost:
            log.debug("where this router stands is said again later: %s", lost)

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
