# Rule: pure. Nothing here awaits, reads a clock or touches a file.
"""What makes two profiles the same loaded model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import cast

from sie.catalog.adapters import AdapterClass
from sie.catalog.canonical import Json, canonical
from sie.catalog.model import Model, Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadIdentity:
    """Profiles with equal identities share one loaded model and one queue; what they run with may differ.

    `weights` is a hub id, or a path if `is_path`; a path is `trusted` when a file on this machine named it, and must
    lie under SIE_WEIGHTS_ROOT otherwise.
    """

    implementation: str  # "module:Class" of ours
    weights: str
    is_path: bool
    trusted: bool
    revision: str | None
    precision: str | None
    max_sequence_length: int | None
    loadtime_json: bytes
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Kept: each request asks for it some twenty times.
        parts = tuple(getattr(self, one.name) for one in fields(self) if one.compare)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @property
    def loadtime(self) -> Mapping[str, Json]:
        return cast("Mapping[str, Json]", json.loads(self.loadtime_json))

    def __str__(self) -> str:
        return f"{self.weights}@{self.revision}" if self.revision else self.weights


def identify(model: Model, resolved: Resolved, adapter: AdapterClass) -> LoadIdentity:
    """The identity of one profile of a model."""
    path = cast("str | None", model.fields.get("weights_path"))
    return LoadIdentity(
        implementation=adapter.path,
        weights=path or model.hub_id,
        is_path=path is not None,
        trusted=path is not None and model.source == "filesystem",
        revision=cast("str | None", model.fields.get("hf_revision")),
        precision=resolved.compute_precision,
        max_sequence_length=cast("int | None", model.fields.get("max_sequence_length")),
        loadtime_json=canonical(resolved.loadtime),
    )
