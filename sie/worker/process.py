"""A worker as a process of its own: one bundle, followed over the bus, with one device. HTTP is not needed for it."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from sie.bus.contract import Bus
from sie.bus.local import LocalBus
from sie.bus.nats import NatsBus
from sie.catalog.catalog import Catalog
from sie.catalog.change import ChangeLimits
from sie.catalog.model import Model
from sie.catalog.spec import Route, Spec, route
from sie.errors import ConfigurationError
from sie.files import load_catalog
from sie.services import open_services
from sie.settings import Settings
from sie.store.open import is_shared, open_to_read
from sie.worker.compute import Compute
from sie.worker.device import Device
from sie.worker.dispatch import Dispatch
from sie.worker.following import keep_following
from sie.worker.legacy import LegacyEar
from sie.worker.standing import Standing
from sie.worker.truth import AskRouters, FilesOnly, ReadStore, Truth
from sie.worker.worker import Worker

log = logging.getLogger(__name__)


class OneWorker:
    """What names lead to where there is one worker: its own catalog and its own bundle. For Dispatch."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def catalog(self) -> Catalog:
        return self._worker.known.catalog

    def known_to(self, store: str) -> int:
        known = self._worker.known
        return known.known.get(store, 0) if store else known.complete_to

    def models(self) -> Sequence[Model]:
        return sorted(self.catalog.in_bundle(self._worker.bundle), key=lambda one: one.sie_id)

    def find(self, spec: Spec) -> Route:
        return route(self.catalog, spec, self._worker.bundle)

    def worker_for(self, found: Route) -> Worker:
        """What is in its catalog it serves."""
        return self._worker


class WorkerProcess:
    """What `open_worker` gives: infer by name, ask how it stands, and end it well."""

    def __init__(
        self,
        *,
        settings: Settings,
        worker: Worker,
        standing: Standing,
        dispatch: Dispatch,
        bus: NatsBus | None,
        truth: Truth,
        legacy: LegacyEar,
    ) -> None:
        self.settings = settings
        self.worker = worker
        self.standing = standing
        self.dispatch = dispatch
        self.bus = bus
        self.truth = truth
        self.legacy = legacy

    @property
    def trouble(self) -> str | None:
        """Why no traffic should come here; None when all is well."""
        if self.standing.draining:
            return "on its way out"
        if not self.standing.ready:
            return self.truth.trouble or "catching up"
        return None


@asynccontextmanager
async def open_worker(
    settings: Settings | None = None, *, device: Device | None = None
) -> AsyncIterator[WorkerProcess]:
    """Run a worker of `settings.bundle` for as long as the block does; `settings` default to the environment's.

    Entered at once, serving filesystem models: NATS, the store and routers may come later. Ready when it has caught up
    once, or after `settings.catchup_s`. Left: requests still under way are cancelled, models are let go.
    Raises ConfigurationError for settings that cannot work.
    """
    settings = settings if settings is not None else Settings.from_environment()
    catalog, settings = _load(settings)
    compute = Compute(settings, device=device)
    worker = Worker(
        settings.bundle,
        name=f"{settings.router_name or socket.gethostname()}-{secrets.token_hex(3)}",
        fresh=catalog.files_only,
        compute=compute,
        machine=settings.machine_profile,
    )
    nats = NatsBus(settings, name=worker.name) if settings.nats_url is not None else None
    bus: Bus = nats if nats is not None else LocalBus()
    truth = _truth(settings, catalog, worker, nats)
    standing = Standing(worker)
    dispatch = Dispatch(OneWorker(worker), compute)
    legacy = LegacyEar(worker.known, ChangeLimits.of(settings), standing.wake)
    async with (
        open_services("the worker has stopped") as devices,
        open_services("the worker's block has ended") as services,
    ):
        await devices.start(compute.run)
        if nats is not None:
            await services.start(nats.run)
            services.start_soon(legacy.listen, nats)
        services.start_soon(standing.run)
        services.start_soon(partial(keep_following, worker, bus=bus, truth=truth, standing=standing, settings=settings))
        services.start_soon(_preload, standing, dispatch, settings.preload)
        yield WorkerProcess(
            settings=settings,
            worker=worker,
            standing=standing,
            dispatch=dispatch,
            bus=nats,
            truth=truth,
            legacy=legacy,
        )
    await truth.aclose()


def _load(settings: Settings) -> tuple[Catalog, Settings]:
    """The files' models, and the settings with the bundle's name as it is written in its file."""
    catalog, faults = load_catalog(settings)
    for fault in faults:
        log.error("left out %s", fault.message)
    if (bundle := catalog.bundle(settings.bundle)) is None:
        raise ConfigurationError(f"SIE_BUNDLE={settings.bundle!r}: there are {', '.join(catalog.bundles)}")
    return catalog, replace(settings, bundle=bundle.bundle_id)


def _truth(settings: Settings, catalog: Catalog, worker: Worker, nats: NatsBus | None) -> Truth:
    if is_shared(settings):
        return ReadStore(settings, catalog.files_only, worker.known, partial(open_to_read, settings))
    if settings.store_dir is not None:
        log.warning("SIE_CONFIG_STORE_DIR is a local directory: its router's alone, and not opened by a worker")
    if nats is not None:
        return AskRouters(nats, worker.known)
    log.warning("neither SIE_NATS_URL nor a shared store: this worker will never hear of models that are added")
    return FilesOnly()


async def _preload(standing: Standing, dispatch: Dispatch, names: Sequence[str]) -> None:
    await standing.wait_until(lambda: standing.ready)
    await dispatch.preload_all(names)
