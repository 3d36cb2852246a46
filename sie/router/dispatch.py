"""From a name to the worker that serves it: resolution, the gate, and then the worker's own work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sie.catalog.canonical import Json
from sie.catalog.model import Model
from sie.catalog.spec import parse_spec, route
from sie.errors import InvalidInput, ModelLoading
from sie.router.fleet import Fleet
from sie.router.head import Head
from sie.wire.inference import EncodeAnswer, EncodeRequest, ModelInfo, ScoreAnswer, ScoreRequest
from sie.worker.compute import Compute
from sie.worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the worker, its own copy of the model, and the profile that runs."""

    worker: Worker
    model: Model
    profile: str


class Dispatch:
    """Inference by name over the workers of this process. The names are specs: `[bundle:/]org/model[:profile]`."""

    def __init__(self, head: Head, fleet: Fleet, workers: Mapping[str, Worker], compute: Compute) -> None:
        self._head = head
        self._fleet = fleet
        self._workers = workers
        self._compute = compute

    def require(self, name: str) -> None:
        """Raises InvalidModelSpec, ModelNotFound, BundleConflict or InvalidInput for a name that leads nowhere."""
        route(self._head.catalog, parse_spec(name))

    async def encode(self, name: str, request: EncodeRequest, *, wait_s: float = 0) -> EncodeAnswer:
        """Vectors for the items, in their order. Cancelled: items that have not reached the device never do."""
        target = self._target(name, request.options)
        return await target.worker.compute.encode(
            target.model, target.profile, replace(request, options=_without_profile(request.options)), wait_s=wait_s
        )

    async def score(self, name: str, request: ScoreRequest, *, wait_s: float = 0) -> ScoreAnswer:
        """Scores of the items against the query, best first."""
        target = self._target(name, request.options)
        return await target.worker.compute.score(
            target.model, target.profile, replace(request, options=_without_profile(request.options)), wait_s=wait_s
        )

    async def decode(self, name: str, token_ids: Sequence[Sequence[int]], *, wait_s: float = 0) -> Sequence[str]:
        """The texts behind token ids, by the model's own tokenizer."""
        target = self._target(name, {})
        return await target.worker.compute.decode(target.model, target.profile, token_ids, wait_s=wait_s)

    async def preload(self, name: str) -> None:
        """Load a model before anybody asks for it. Raises as `encode` does."""
        target = self._target(name, {})
        await target.worker.compute.preload(target.model, target.profile)

    def models(self) -> Sequence[ModelInfo]:
        """Every model of the catalog, by name."""
        return [self._describe(model) for model in self._head.catalog.models()]

    def model(self, name: str) -> ModelInfo:
        """One model. Raises as `require` does."""
        return self._describe(route(self._head.catalog, parse_spec(name)).model)

    def _describe(self, model: Model) -> ModelInfo:
        bundles = self._head.catalog.bundles_of(model)
        return replace(self._compute.describe(model), bundles=bundles)

    def _target(self, name: str, options: Mapping[str, Json]) -> Target:
        spec = parse_spec(name)
        asked = options.get("profile")
        if asked is not None and not isinstance(asked, str):
            raise InvalidInput("options.profile must be a string", path="options.profile")
        if spec.profile is not None and asked is not None and asked != spec.profile:
            raise InvalidInput(
                f"the name says profile {spec.profile!r} and options.profile says {asked!r}", path="options.profile"
            )
        found = route(self._head.catalog, replace(spec, profile=spec.profile or asked or "default"))
        assert found.profile is not None
        created = found.model.created.get(found.profile, 0)
        ready = self._fleet.serving(found.bundle, store=self._head.store_id, revision=created)
        here = [self._workers[one.name] for one in ready if one.name in self._workers]
        if not here:
            raise ModelLoading(
                f"no worker of bundle {found.bundle} has {found.model.sie_id}:{found.profile} yet", retry_after_s=1
            )
        worker = here[0]
        return Target(worker, worker.model(found.model.sie_id), found.profile)


def _without_profile(options: Mapping[str, Json]) -> Mapping[str, Json]:
    return {name: value for name, value in options.items() if name != "profile"}
