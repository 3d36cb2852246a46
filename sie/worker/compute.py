"""The compute half of a worker: one for a process, shared by all its bundles, so that there is one device lane and one
memory budget. Nothing here needs torch or numpy until a model is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from sie.catalog.adapters import find_adapter
from sie.catalog.model import Model
from sie.errors import InvalidInput
from sie.settings import Settings
from sie.wire.inference import (
    OUTPUT_TYPES,
    EncodeAnswer,
    Encoded,
    EncodeRequest,
    ModelInfo,
    ScoreAnswer,
    Scored,
    ScoreRequest,
    State,
    Timing,
)
from sie.worker.adapters.contract import Adapter, Result
from sie.worker.counts import Counts
from sie.worker.device import Device, ThreadedDevice
from sie.worker.identity import LoadIdentity, identify
from sie.worker.loading import Loading
from sie.worker.options import EncodePlan, EncodePlans, Plan, ScorePlan, read_plan, read_score, supported_outputs
from sie.worker.pipeline import Pipeline, chunks
from sie.worker.ticket import Done, Work

if TYPE_CHECKING:
    from sie.wire.inference import FloatArray

T = TypeVar("T")

# Fewer answers than this are put together on the spot: a hop to another thread costs more.
ON_THE_SPOT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatistics:
    """One loaded, or once loaded, model."""

    identity: LoadIdentity
    state: State
    memory_bytes: int
    queue_depth: int  # items admitted and not answered
    reason: str  # why the last load failed, or ""
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeStatistics:
    device: str
    memory_used_bytes: int
    memory_budget_bytes: int | None  # None: not asked yet
    models: Sequence[ModelStatistics]

    @property
    def queue_depth(self) -> int:
        return sum(one.queue_depth for one in self.models)


class Compute:
    """Encodes and scores with any model of the catalog, loading and unloading as needed.

    Every method raises InvalidInput before anything is loaded, if the request can never work. A model that is not
    resident begins to load; the request then waits `wait_s` at most and gets ModelLoading, or ModelLoadFailed.
    """

    def __init__(self, settings: Settings, *, device: Device | None = None) -> None:
        self._settings = settings
        self._device = device or ThreadedDevice(settings)
        self._loading = Loading(settings, self._device)
        self._plans = EncodePlans()
        self._pipeline = Pipeline(settings, self._device, self._loading)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; then whoever waits gets ShuttingDown, and the device's memory is given back.

        A model that fails, in loading or running, never ends this.
        """
        try:
            async with trio.open_nursery() as nursery:
                try:
                    self._loading.open(nursery)
                    await nursery.start(self._pipeline.run)
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    self._loading.close()  # before the nursery closes: nobody is to begin a load in a closed one
        finally:
            with trio.move_on_after(self._settings.unload_wait_s, shield=True):
                await self._loading.release_all()
            self._device.close()

    # -- requests

    async def encode(
        self, model: Model, profile: str | None, request: EncodeRequest, *, wait_s: float = 0.0
    ) -> EncodeAnswer:
        """Raises also QueueFull, InferenceFailed, ShuttingDown. Cancelled: its items leave the queue."""
        began = trio.current_time()
        self._check_count(len(request.items))
        plan = self._plans.read(model, profile, request)
        async with self._loading.using(plan.identity, wait_s) as adapter:
            work = Work(texts=[item.text for item in request.items], outputs=frozenset(plan.outputs), options=plan.run)
            done = await self._submit(plan, adapter, [work])
            finishing = trio.current_time()
            items = await self._finish(len(request.items), lambda: _encoded(adapter, plan, request, done.results))
        return EncodeAnswer(model=model.sie_id, items=items, timing=_timing(began, finishing, done))

    async def score(
        self, model: Model, profile: str | None, request: ScoreRequest, *, wait_s: float = 0.0
    ) -> ScoreAnswer:
        """Raises also QueueFull, InferenceFailed, ShuttingDown. Cancelled: its items leave the queue."""
        began = trio.current_time()
        self._check_count(len(request.items))
        plan = read_score(model, profile, request)
        async with self._loading.using(plan.identity, wait_s) as adapter:
            done = await self._submit(plan, adapter, _score_works(adapter, plan, request))
            finishing = trio.current_time()
            scores = await self._finish(len(request.items), lambda: _ranked(adapter, request, done.results))
        return ScoreAnswer(
            model=model.sie_id,
            query_id=request.query.id,
            scores=scores,
            timing=_timing(began, finishing, done),
        )

    async def count_tokens(
        self, model: Model, profile: str | None, texts: Sequence[str], *, wait_s: float = 0.0
    ) -> list[int]:
        """What each text costs: its tokens as they would be run, prompt included, cut to the model's length."""
        plan = read_plan(model, profile, {})
        async with self._loading.using(plan.identity, wait_s) as adapter:
            return [
                len(tokens)
                for chunk in chunks(texts)
                for tokens in await self._device.tokenise(adapter, chunk, plan.run)
            ]

    async def decode(
        self, model: Model, profile: str | None, token_ids: Sequence[Sequence[int]], *, wait_s: float = 0.0
    ) -> list[str]:
        """The texts these tokens of the model's vocabulary spell. Raises InvalidInput for ids it does not have."""
        plan = read_plan(model, profile, {})
        async with self._loading.using(plan.identity, wait_s) as adapter:
            try:
                return await self._device.host(lambda: [adapter.decode(ids) for ids in token_ids])
            except ValueError as fault:
                raise InvalidInput(f"Not tokens of {model.sie_id!r}: {fault}", path="input") from None

    async def preload(self, model: Model, profile: str | None = None, *, wait_s: float = math.inf) -> None:
        """Have it loaded. Raises as a request would."""
        async with self._loading.using(read_plan(model, profile, {}).identity, wait_s):
            pass

    # -- what is known, at once

    def describe(self, model: Model) -> ModelInfo:
        """What the config says, else the adapter's class, else (once it has been loaded) the model itself."""
        resolved = model.resolve("default")
        adapter = find_adapter(resolved.adapter_path)
        outputs = supported_outputs(model, adapter) if adapter is not None else frozenset[str]()
        dims: dict[str, int] = {}
        max_sequence_length = None
        if adapter is not None:
            known = self._loading.known.get(identify(model, resolved, adapter))
            if known is not None:
                dims, max_sequence_length = {**known.dims}, known.max_sequence_length
        tasks = cast("Mapping[str, Any]", model.fields.get("tasks") or {})
        for output, task in (tasks.get("encode") or {}).items():
            if task and task.get("dim") is not None:
                dims[output] = task["dim"]
        state = self.state(model)
        inputs = cast("Mapping[str, bool]", model.fields.get("inputs") or {"text": True})
        return ModelInfo(
            name=model.sie_id,
            inputs=[name for name in ("text", "image", "audio", "video") if inputs.get(name, name == "text")],
            outputs=[name for name in (*OUTPUT_TYPES, "score") if name in outputs],
            dims={output: dims[output] for output in OUTPUT_TYPES if output in outputs and output in dims},
            loaded=state == "loaded",
            max_sequence_length=cast("int | None", model.fields.get("max_sequence_length")) or max_sequence_length,
            profiles={name: {"is_default": name == "default"} for name in model.profiles},
            state=state,
        )

    def state(self, model: Model) -> State:
        """The state of the profile that is furthest: loaded before loading, unloading, failed, available."""
        places = self._loading.table.states()
        states = {places[one].state.value for one in self._identities(model) if one in places}
        return next((one for one in ("loaded", "loading", "unloading", "failed") if one in states), "available")

    def queue_depth(self, model: Model) -> int:
        """Items of all its profiles that are admitted and not answered."""
        return sum(self._pipeline.pending(identity) for identity in self._identities(model))

    def statistics(self) -> ComputeStatistics:
        table = self._loading.table
        return ComputeStatistics(
            device=self._device.name,
            memory_used_bytes=table.used_bytes(),
            memory_budget_bytes=table.budget_bytes,
            models=[
                ModelStatistics(
                    identity=identity,
                    state=place.state.value,
                    memory_bytes=place.memory_bytes,
                    queue_depth=self._pipeline.pending(identity),
                    reason=place.reason,
                    counts=self._pipeline.counts.get(identity, Counts()),
                )
                for identity, place in table.states().items()
            ],
        )

    @property
    def changes(self) -> int:
        """How many state changes there have been; for `wait_changed`."""
        return self._loading.changes

    async def wait_changed(self, seen: int) -> int:
        """Wait until a model's state has changed more than `seen` times in all; returns how many. No change is lost:
        `seen = await compute.wait_changed(seen)` in a loop, any number of loops."""
        return await self._loading.wait_changed(seen)

    # -- inside

    async def _submit(self, plan: Plan, adapter: Adapter, works: Sequence[Work]) -> Done:
        budget = plan.resolved.max_batch_tokens or self._settings.default_batch_tokens
        return await self._pipeline.submit(plan.identity, adapter, works, budget)

    async def _finish(self, count: int, job: Callable[[], T]) -> T:
        return job() if count <= ON_THE_SPOT else await self._device.host(job)

    def _check_count(self, count: int) -> None:
        most = self._settings.request_items
        if count > most:
            raise InvalidInput(f"A request may have {most} items and this one has {count}", path="items")

    def _identities(self, model: Model) -> set[LoadIdentity]:
        identities = set()
        for name in model.profiles:
            resolved = model.resolve(name)
            adapter = find_adapter(resolved.adapter_path)
            if adapter is not None:
                identities.add(identify(model, resolved, adapter))
        return identities


def _score_works(adapter: Adapter, plan: ScorePlan, request: ScoreRequest) -> list[Work]:
    """Pairs for an adapter that scores them; else the query, then the documents, for MaxSim over their tokens."""
    query = request.query.text
    if adapter.pairs:
        pairs = [(query, item.text) for item in request.items]
        return [Work(texts=pairs, outputs=frozenset({"score"}), options=plan.run)]
    vectors = frozenset({"multivector"})
    documents = [item.text for item in request.items]
    return [
        Work(texts=[query], outputs=vectors, options=plan.run),
        Work(texts=documents, outputs=vectors, options=plan.items),
    ]


def _ranked(adapter: Adapter, request: ScoreRequest, results: Sequence[Result]) -> list[Scored]:
    from sie.worker import postprocess

    if adapter.pairs:
        scores = [cast("float", result.score) for result in results]
    else:
        query, *documents = (cast("FloatArray", result.multivector) for result in results)
        scores = [postprocess.maxsim(query, document) for document in documents]
    return postprocess.ranked(request.items, scores)


def _encoded(adapter: Adapter, plan: EncodePlan, request: EncodeRequest, results: Sequence[Result]) -> list[Encoded]:
    from sie.worker import postprocess

    return postprocess.encoded(request.items, results, plan.dtype, adapter.dims.get("sparse"))


def _timing(began: float, finishing: float, done: Done) -> Timing:
    """Queueing is what is left of the time when what was done in it is taken away."""
    now = trio.current_time()
    return Timing(
        total_ms=1000 * (now - began),
        queue_ms=1000 * max(0.0, finishing - began - done.tokenise_s - done.run_s),
        tokenization_ms=1000 * done.tokenise_s,
        inference_ms=1000 * done.run_s,
        postprocessing_ms=1000 * (now - finishing),
        tokens=done.tokens,
    )
