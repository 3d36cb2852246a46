"""The whole system in one process: store, writer, one worker a bundle, one device. HTTP is not needed for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from sie.catalog.document import write_document
from sie.flow import answer_post
from sie.router.dispatch import LocalWorkers
from sie.router.plane import ConfigPlane, open_plane
from sie.router.sync import catch_up
from sie.services import open_services
from sie.settings import Settings
from sie.wire.inference import EncodeAnswer, EncodeRequest, Item, ModelInfo, ScoreAnswer, ScoreRequest
from sie.wire.status import WorkerStatus
from sie.worker.compute import Compute
from sie.worker.dispatch import Dispatch
from sie.worker.supervise import supervise
from sie.worker.worker import Worker

log = logging.getLogger(__name__)


class Engine(ConfigPlane):
    """What `open_engine` gives: add models, encode and score, without HTTP. Every method may be called concurrently."""

    def __init__(self, plane: ConfigPlane, *, dispatch: Dispatch, compute: Compute) -> None:
        super().__init__(
            settings=plane.settings, head=plane.head, writer=plane.writer, fleet=plane.fleet, watch=plane.watch
        )
        self.dispatch = dispatch
        self.compute = self.local_compute = compute

    def workers(self) -> Sequence[WorkerStatus]:
        """One a bundle, each with what the device they share does; the first is said to have it, for sums."""
        load = self.compute.statistics()
        loaded = list(self.dispatch.loaded())
        return [
            replace(
                one,
                loaded_models=[model.name for model in loaded if one.bundle in model.bundles],
                queue_depth=load.queue_depth,
                gpu_count=int(place == 0 and load.device != "cpu"),
                memory_used_bytes=load.memory_used_bytes,
                memory_total_bytes=load.memory_budget_bytes or 0,
            )
            for place, one in enumerate(self.fleet.workers)
        ]

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
        return list(self.dispatch.models())

    def _patience(self, wait_s: float | None) -> float:
        return self.settings.wait_most_s if wait_s is None else wait_s


@asynccontextmanager
async def open_engine(settings: Settings | None = None) -> AsyncIterator[Engine]:
    """Run the engine for as long as the block does; `settings` default to the environment's.

    Entered when the catalog is loaded, the store read (where settings ask for that first) and every bundle caught up.
    Left: requests still under way are cancelled, models are let go; a write in hand may be made or not, and its caller
    is told so (OutcomeUnknown).
    Raises ConfigurationError for settings that cannot work and StoreCorrupt for a store that must not be used.
    """
    settings = settings if settings is not None else Settings.from_environment()
    async with (
        open_services("every bundle has stopped") as devices,
        open_plane(settings) as (plane, bus),
        open_services("the engine's block has ended") as bundles,
    ):
        compute = Compute(settings)
        await devices.start(compute.run)
        head, fleet = plane.head, plane.fleet
        workers = {
            bundle: Worker(
                bundle,
                name=bundle,
                fresh=head.catalog.files_only,
                compute=compute,
                machine=settings.machine_profile,
            )
            for bundle in head.catalog.bundles
        }
        for worker in workers.values():
            await bundles.start(
                partial(supervise, worker, bus=bus, catch_up=partial(catch_up, head), fleet=fleet, settings=settings)
            )
        dispatch = Dispatch(LocalWorkers(head, fleet, workers), compute)
        bundles.start_soon(dispatch.preload_all, settings.preload)
        yield Engine(plane, dispatch=dispatch, compute=compute)


def _items(given: str | Sequence[str | Item]) -> Sequence[Item]:
    texts = [given] if isinstance(given, str) else given
    return [one if isinstance(one, Item) else Item(one) for one in texts]
