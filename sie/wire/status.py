"""What a worker says of itself, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Nack:
    """Why a worker could not take a profile on. It keeps the rest and says so."""

    model: str
    profile: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """The state of one worker at one moment. `revision`: everything of its bundle up to there is known to it."""

    name: str
    bundle: str
    ready: bool
    store: str | None = None
    revision: int = 0
    digest: str = ""
    bundle_config_hash: str = ""
    nacks: Sequence[Nack] = ()
    machine_profile: str = ""
    loaded_models: Sequence[str] = ()
    queue_depth: int = 0
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
