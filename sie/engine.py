"""The whole system in one process: store, writer, one worker a bundle, one device. HTTP is not needed for it."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from sie.bus.local import LocalBus
from sie.catalog.change import ChangeLimits
from sie.catalog.digest import bundle_config_hash
from sie.catalog.document import write_document
from sie.errors import SieError, StoreCorrupt, StoreUnavailable
from sie.files import load_catalog
from sie.flow import answer_post
from sie.router.dispatch import Dispatch
from sie.router.fleet import Fleet
from sie.router.head import Head
from sie.router.writer import Writer
from sie.settings import Settings
from sie.store.contract import Store
from sie.store.open import open_store
from sie.wire.inference import EncodeAnswer, EncodeRequest, Item, ModelInfo, ScoreAnswer, ScoreRequest
from sie.worker.compute import Compute
from sie.worker.supervise import supervise
from sie.worker.worker import Worker

log = logging.getLogger(__name__)


class Engine:
    """What `open_engine` gives: add models, encode and score, without HTTP. Every method may be called concurrently."""

    def __init__(
        self, *, settings: Settings, head: Head, writer: Writer, fleet: Fleet, dispatch: Dispatch, compute: Compute
    ) -> None:
        self.settings = settings
        self.head = head
        self.writer = writer
        self.fleet = fleet
        self.dispatch = dispatch
        self.compute = compute
        self._hashes: dict[str, tuple[int, str]] = {}  # bundle -> at which revision, hash

    async def add_model(
        self, document: str | bytes | Mapping[str, Any], *, key: str | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """Add a model, or profiles to one: YAML text, or the same as a mapping. Returns the documented answer.

        Raises ParseError, InvalidModelId, ValidationError, ContentConflict, IdempotencyMismatch: nothing changed.
        Raises StoreUnavailable: nothing changed; OutcomeUnknown, a kind of it: a retry is safe.
        Cancelled: the change may have been made or not; a retry is safe.
        """
        if isinstance(document, Mapping):
            document = write_document(document)
        body = document.encode() if isinstance(document, str) else document

        async def read_body() -> bytes:
            return body

        _, answer = await answer_post(read_body, key=key, dry_run=dry_run, writer=self.writer, fleet=self.fleet)
        return answer

    async def encode(
        self,
        model: str,
        items: str | Sequence[str | Item],
        *,
        output_types: Sequence[str] | None = None,
        output_dtype: str | None = None,
        instruction: str | None = None,
        options: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> EncodeAnswer:
        """Vectors for the texts, in their order. `model` is `[bundle:/]org/model[:profile]`.

        Waits up to `wait_s` seconds (default: as long as settings grant) for a model that is not loaded yet, then
        raises ModelLoading. Raises ModelNotFound, InvalidInput, QueueFull, ModelLoadFailed, InferenceFailed.
        Cancelled: what has not reached the device never does.
        """
        request = EncodeRequest(
            items=_items(items),
            output_types=output_types,
            output_dtype=output_dtype,
            instruction=instruction,
            options=options or {},
        )
        return await self.dispatch.encode(model, request, wait_s=self._patience(wait_s))

    async def score(
        self,
        model: str,
        query: str | Item,
        items: Sequence[str | Item],
        *,
        instruction: str | None = None,
        options: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> ScoreAnswer:
        """How well each item answers the query, best first. Waits and raises as `encode` does."""
        request = ScoreRequest(
            query=_items([query])[0], items=_items(items), instruction=instruction, options=options or {}
        )
        return await self.dispatch.score(model, request, wait_s=self._patience(wait_s))

    def models(self) -> Sequence[ModelInfo]:
        """Every model known, by name."""
        return self.dispatch.models()

    def _patience(self, wait_s: float | None) -> float:
        return self.settings.wait_most_s if wait_s is None else wait_s

    def config_hash(self, bundle: str) -> str:
        """The bundle's `bundle_config_hash`, as SIE v0.1.10's workers compute it. Costs a walk through the bundle."""
        known = self._hashes.get(bundle)
        if known is None or known[0] != self.head.revision:
            known = self._hashes[bundle] = (
                self.head.revision,
                bundle_config_hash(self.head.catalog.in_bundle(bundle)),
            )
        return known[1]

    @property
    def trouble(self) -> str | None:
        """Why this engine is not ready for traffic that depends on its store; None when all is well."""
        if self.head.trouble is not None:
            return f"config store: {self.head.trouble}"
        if self.settings.restore and not self.head.folded:
            return "config store: not read yet"
        return None


@asynccontextmanager
async def open_engine(settings: Settings | None = None) -> AsyncIterator[Engine]:
    """Run the engine for as long as the block does; `settings` default to the environment's.

    Entered when the catalog is loaded, the store read (where settings ask for that first) and every bundle caught up.
    Left: requests still under way are cancelled, the writer finishes what it has in hand, models are let go.
    Raises ConfigurationError for settings that cannot work and StoreCorrupt for a store that must not be used.
    """
    settings = settings if settings is not None else Settings.from_environment()
    store = await _reach(settings)
    catalog, faults = load_catalog(settings, store.origin if store is not None else 0)
    for fault in faults:
        log.error("left out %s", fault.message)
    bus, fleet = LocalBus(), Fleet()
    head = Head(
        catalog,
        store,
        open_store=partial(open_store, settings),
        nudge=bus.nudge,
        limits=ChangeLimits.of(settings),
        settings=settings,
        router_id=f"{settings.router_name or socket.gethostname()}-{secrets.token_hex(3)}",
    )
    writer = Writer(head, bus, settings)
    compute = Compute(settings)
    workers = {
        bundle: Worker(
            bundle,
            name=bundle,
            fresh=lambda: load_catalog(settings)[0],
            compute=compute,
            machine=settings.machine_profile,
        )
        for bundle in catalog.bundles
    }
    dispatch = Dispatch(head, fleet, workers, compute)
    failure: Exception | None = None
    async with trio.open_nursery() as devices:
        async with trio.open_nursery() as services:  # stopped before the devices they use
            try:
                await devices.start(compute.run)
                await services.start(writer.run)
                for worker in workers.values():
                    await services.start(partial(supervise, worker, bus=bus, catch_up=head.catch_up, fleet=fleet))
                services.start_soon(_preload, dispatch, settings.preload)
                yield Engine(
                    settings=settings, head=head, writer=writer, fleet=fleet, dispatch=dispatch, compute=compute
                )
            except Exception as error:
                failure = error  # leaves as it is, not inside a nursery's group
            services.cancel_scope.cancel(reason="the engine's block has ended")
        devices.cancel_scope.cancel(reason="every bundle has stopped")
    await head.aclose()
    if failure is not None:
        raise failure


async def _preload(dispatch: Dispatch, names: Sequence[str]) -> None:
    """Load one after the other; one that cannot be loaded is told and costs nothing else."""
    for name in names:
        try:
            await dispatch.preload(name)
        except SieError as fault:
            log.error("%s is not preloaded: %s", name, fault.message)


async def _reach(settings: Settings) -> Store | None:
    """The store, or None if it is away for now. Raises StoreCorrupt for one that must not be used."""
    try:
        return await open_store(settings)
    except StoreCorrupt:
        raise
    except StoreUnavailable as fault:
        log.error("the config store cannot be used yet, serving filesystem models: %s", fault.message)
        return None


def _items(given: str | Sequence[str | Item]) -> Sequence[Item]:
    texts = [given] if isinstance(given, str) else given
    return [one if isinstance(one, Item) else Item(one) for one in texts]
