"""The config plane of one process: store, fold, writer and bus, whatever it is that runs the models."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from sie.bus.broker import BrokerLink
from sie.bus.contract import Bus
from sie.bus.joined import JoinedBus
from sie.bus.local import LocalBus
from sie.catalog.catalog import Catalog
from sie.catalog.change import ChangeLimits
from sie.catalog.digest import bundle_config_hash
from sie.catalog.model import Model
from sie.errors import ModelNotFound, StoreCorrupt, StoreUnavailable
from sie.files import FileFault, load_catalog
from sie.http.headers import Headers
from sie.router.fleet import Fleet
from sie.router.head import Head
from sie.router.reconcile import Reconcile
from sie.router.revision import reach_min_revision
from sie.router.watch import Watch
from sie.router.writer import Writer
from sie.services import open_services
from sie.settings import Settings
from sie.store.contract import Store
from sie.store.open import is_shared, open_store
from sie.wire.status import WorkerStatus
from sie.worker.compute import Compute

log = logging.getLogger(__name__)


class ConfigPlane:
    """What the Config API works on. One owner each: the writer of the head, whoever hears workers of the fleet."""

    def __init__(self, *, settings: Settings, head: Head, writer: Writer, fleet: Fleet, watch: Watch) -> None:
        self.settings = settings
        self.head = head
        self.writer = writer
        self.fleet = fleet
        self.watch = watch
        self.stopping = trio.Event()  # what has no end of its own ends then
        self.local_compute: Compute | None = None  # in a process that runs models as well
        self._hashes: dict[str, tuple[str, str]] = {}  # bundle -> of which digest, hash

    def workers(self) -> Sequence[WorkerStatus]:
        """Every worker heard of, as it stands now."""
        return self.fleet.workers

    async def config_hash(self, bundle: str) -> str:
        """The bundle's `bundle_config_hash`, as SIE v0.1.10's workers compute it. Walks through the bundle, in a
        thread, once a change of it."""
        known = self._hashes.get(bundle)
        digest = self.head.catalog.digest(bundle)
        if known is None or known[0] != digest:
            models = self.head.catalog.in_bundle(bundle)
            known = digest, await trio.to_thread.run_sync(bundle_config_hash, models)
            self._hashes[bundle] = known
        return known[1]

    def model(self, model_id: str) -> Model:
        """Raises ModelNotFound; StoreUnavailable where it may lie in a store that has not been read yet."""
        model = self.head.catalog.find(model_id)
        if model is None:
            with self.head.looking_up():
                raise ModelNotFound(f"no model {model_id[:200]!r}", model_id=model_id[:200])
        return model

    async def wait_revision(self, revision: int) -> None:
        """Return once the catalog is the fold of so many entries; look into the store first."""
        if self.head.revision < revision:
            await self.writer.refresh()
            await self.head.wait_revision(revision)

    async def reach(self, headers: Headers) -> None:
        """Wait for the revision that X-SIE-Min-Revision asks for. Raises InvalidInput and CatalogBehind."""
        await reach_min_revision(
            headers,
            revision=lambda: self.head.revision,
            wait_revision=self.wait_revision,
            within_s=self.settings.min_revision_s,
        )

    @property
    def trouble(self) -> str | None:
        """Why this process is not ready for traffic that depends on its store; None when all is well."""
        if self.head.trouble is not None:
            return f"config store: {self.head.trouble}"
        if self.settings.restore and not self.head.folded:
            return "config store: not read yet"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Where a config plane touches the world: None is what the settings name. A simulation has edges of its own.

    `load`: the catalog before any entry, numbered from an origin on, and what is wrong with its files.
    """

    open_store: Callable[[], Awaitable[Store]] | None = None
    broker: BrokerLink | None = None
    load: Callable[[Settings, int], tuple[Catalog, Sequence[FileFault]]] = load_catalog


@asynccontextmanager
async def open_plane(settings: Settings, edges: Edges | None = None) -> AsyncIterator[tuple[ConfigPlane, Bus]]:
    """Run the config plane for as long as the block does; the bus is for followers in this process.

    Entered when the catalog is loaded and the store read, where settings ask for that first; NATS may come later.
    Raises ConfigurationError for settings that cannot work and StoreCorrupt for a store that must not be used.
    """
    edges = edges if edges is not None else Edges()
    opening = edges.open_store or partial(open_store, settings)
    store = await _reach(opening)
    catalog, faults = edges.load(settings, store.origin if store is not None else 0)
    for fault in faults:
        log.error("left out %s", fault.message)
    near, fleet, watch = LocalBus(), Fleet(settings.ack_patience_s), Watch(settings)
    router_id = f"{settings.router_name or socket.gethostname()}-{secrets.token_hex(3)}"
    head = Head(
        catalog,
        store,
        open_store=opening,
        nudge=near.nudge,
        watch=watch,
        limits=ChangeLimits.of(settings),
        settings=settings,
        router_id=router_id,
    )
    nats = None
    if settings.nats_url is not None:
        from sie.router.announcing import nats_bus  # late: a quarter of a start's imports, for those on NATS only

        nats = nats_bus(settings, head, edges.broker)
    bus: Bus = near if nats is None else JoinedBus(near, nats)
    writer = Writer(head, bus, settings)
    async with open_services("the config plane's block has ended") as services:
        if nats is not None:
            await services.start(nats.run)
        await services.start(writer.run)
        if nats is not None or is_shared(settings):
            await services.start(Reconcile(writer=writer, fleet=fleet, nats=nats, settings=settings).run)
        yield ConfigPlane(settings=settings, head=head, writer=writer, fleet=fleet, watch=watch), bus
    await head.aclose()


async def _reach(opening: Callable[[], Awaitable[Store]]) -> Store | None:
    """The store, or None if it is away for now. Raises StoreCorrupt for one that must not be used."""
    try:
        return await opening()
    except StoreCorrupt:
        raise
    except StoreUnavailable as fault:
        log.error("the config store cannot be used yet, serving filesystem models: %s", fault.message)
        return None
