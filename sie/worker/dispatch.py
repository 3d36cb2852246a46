"""From a name to the worker that serves it, and then that worker's own work."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from sie.catalog.canonical import Json
from sie.catalog.catalog import Catalog
from sie.catalog.model import Model
from sie.catalog.spec import Route, Spec, parse_spec
from sie.errors import InvalidInput, SieError
from sie.wire.inference import EncodeAnswer, EncodeRequest, ModelInfo, ScoreAnswer, ScoreRequest
from sie.worker.compute import Compute
from sie.worker.worker import Worker

log = logging.getLogger(__name__)

Request = TypeVar("Request", EncodeRequest, ScoreRequest)


class Serving(Protocol):
    """What names lead to in this process."""

    @property
    def catalog(self) -> Catalog:
        """Where names are looked up."""

    def known_to(self, store: str) -> int:
        """Up to which revision of a store everything is known that a name may lead to; "": of the own."""

    def models(self) -> Sequence[Model]:
        """Those that can be served, by id."""

    def find(self, spec: Spec) -> Route:
        """Raises ModelNotFound, BundleConflict and ProfileNotFound."""

    def worker_for(self, found: Route) -> Worker:
        """One that has the model and its profile. Raises ModelLoading while there is none."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the worker, its own copy of the model, and the profile that runs."""

    worker: Worker
    model: Model
    profile: str


class Dispatch:
    """Inference by name over the workers of this process. The names are specs: `[bundle:/]org/model[:profile]`."""

    def __init__(self, serving: Serving, compute: Compute) -> None:
        self._serving = serving
        self._compute = compute

    def known_to(self, store: str) -> int:
        """Up to which revision of a store everything is known that a name may lead to; "": of the own."""
        return self._serving.known_to(store)

    def require(self, name: str) -> None:
        """Raises InvalidModelSpec, ModelNotFound, BundleConflict or InvalidInput for a name that leads nowhere."""
        self._serving.find(parse_spec(name))

    async def encode(self, name: str, request: EncodeRequest, *, wait_s: float = 0) -> EncodeAnswer:
        """Vectors for the items, in their order. Cancelled: items that have not reached the device never do."""
        target = self._target(name, request.options)
        return await target.worker.compute.encode(
            target.model, target.profile, _without_profile(request), wait_s=wait_s
        )

    async def score(self, name: str, request: ScoreRequest, *, wait_s: float = 0) -> ScoreAnswer:
        """Scores of the items against the query, best first."""
        target = self._target(name, request.options)
        return await target.worker.compute.score(target.model, target.profile, _without_profile(request), wait_s=wait_s)

    async def decode(self, name: str, token_ids: Sequence[Sequence[int]], *, wait_s: float = 0) -> Sequence[str]:
        """The texts behind token ids, by the model's own tokenizer."""
        target = self._target(name, {})
        return await target.worker.compute.decode(target.model, target.profile, token_ids, wait_s=wait_s)

    async def preload(self, name: str) -> None:
        """Load a model before anybody asks for it. Raises as `encode` does."""
        target = self._target(name, {})
        await target.worker.compute.preload(target.model, target.profile)

    async def preload_all(self, names: Iterable[str]) -> None:
        """Load one after the other; one that cannot be loaded is told and costs nothing else."""
        for name in names:
            try:
                await self.preload(name)
            except SieError as fault:
                log.error("%s is not preloaded: %s", name, fault.message)

    def models(self) -> Iterable[ModelInfo]:
        """Every model as it is now, by name; each described when it is come to."""
        return map(self._describe, self._serving.models())

    def loaded(self) -> Iterable[ModelInfo]:
        """Those that are on the device, described as `models` does. Costs little where few are."""
        weights = {one.identity.weights for one in self._compute.statistics().models if one.state == "loaded"}
        for model in self._serving.models():
            if model.hub_id in weights or model.fields.get("weights_path") in weights:
                info = self._describe(model)
                if info.loaded:
                    yield info

    def model(self, name: str) -> ModelInfo:
        """One model. Raises as `require` does."""
        return self._describe(self._serving.find(parse_spec(name)).model)

    def _describe(self, model: Model) -> ModelInfo:
        return replace(self._compute.describe(model), bundles=self._serving.catalog.bundles_of(model))

    def _target(self, name: str, options: Mapping[str, Json]) -> Target:
        spec = parse_spec(name)
        asked = options.get("profile")
        if asked is not None and not isinstance(asked, str):
            raise InvalidInput("options.profile must be a string", path="options.profile")
        if spec.profile is not None and asked is not None and asked != spec.profile:
            raise InvalidInput(
                f"the name says profile {spec.profile!r} and options.profile says {asked!r}", path="options.profile"
            )
        found = self._serving.find(replace(spec, profile=spec.profile or asked or "default"))
        assert found.profile is not None
        worker = self._serving.worker_for(found)
        return Target(worker, worker.model(found.model.sie_id), found.profile)


def _without_profile(request: Request) -> Request:
    if "profile" not in request.options:
        return request
    return replace(request, options={name: value for name, value in request.options.items() if name != "profile"})
