"""`GET /v1/models` in a router: the catalog, and who of the fleet serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from sie.catalog.catalog import Catalog
from sie.catalog.model import Model
from sie.turns import in_turns

if TYPE_CHECKING:
    from sie.router.proxy import ServingFleet


async def write_routed_models(catalog: Catalog, fleet: ServingFleet) -> bytes:
    """The list twice: under `models` as SIE's clients read it, under `data` as OpenAI's do. Others run meanwhile."""
    workers = _Workers(catalog, fleet)
    described: list[bytes] = []
    listed: list[bytes] = []

    def write(model: Model) -> None:
        described.append(orjson.dumps(workers.describe(model)))
        listed.append(orjson.dumps(_openai(model)))

    await in_turns(catalog.models(), write)
    return b'{"models":[%s],"object":"list","data":[%s]}' % (b",".join(described), b",".join(listed))


def write_routed_model(model: Model, catalog: Catalog, fleet: ServingFleet) -> bytes:
    """One of them, in both spellings."""
    return orjson.dumps({**_openai(model), **_Workers(catalog, fleet).describe(model)})


class _Workers:
    """The fleet by bundle, looked at once for a whole list."""

    def __init__(self, catalog: Catalog, fleet: ServingFleet) -> None:
        self._catalog = catalog
        self._of = {bundle: fleet.in_bundle(bundle) for bundle in catalog.bundles}
        self._loaded = {
            bundle: {name for one in workers for name in one.loaded_models} for bundle, workers in self._of.items()
        }

    def describe(self, model: Model) -> Mapping[str, Any]:
        bundles = self._catalog.bundles_of(model)
        workers = [one.key for bundle in bundles for one in self._of[bundle]]
        names = {model.sie_id, *(f"{model.sie_id}:{profile}" for profile in model.profiles)}
        return {
            "name": model.sie_id,
            "bundles": list(bundles),
            "worker_count": len(workers),
            "workers": workers,
            "loaded": any(not names.isdisjoint(self._loaded[bundle]) for bundle in bundles),
            "profiles": {name: {"is_default": name == "default"} for name in model.profiles},
        }


def _openai(model: Model) -> Mapping[str, Any]:
    return {"id": model.sie_id, "object": "model", "created": 0, "owned_by": "sie"}
