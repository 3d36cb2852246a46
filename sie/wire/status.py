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
    """The state of one worker at one moment. `revision`: everything of its bundle up to there is known to it; `others`:
    the same of other stores than `store`, where routers share none.

    `url`: where its HTTP answers, "" inside one process. `by_hash`: a worker of SIE v0.1.10, which knows nothing of
    revisions and is judged by its `bundle_config_hash`.
    """

    name: str
    bundle: str
    ready: bool
    store: str | None = None
    revision: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    bundle_config_hash: str = ""
    nacks: Sequence[Nack] = ()
    nacks_left_out: int = 0  # more of them than its message could hold
    machine_profile: str = ""
    loaded_models: Sequence[str] = ()
    queue_depth: int = 0
    url: str = ""
    by_hash: bool = False
    gpu_count: int = 0
    memory_used_bytes: int = 0
    memory_total_bytes: int = 0

    @property
    def key(self) -> str:
        """What tells one worker from another: names may repeat, addresses do not."""
        return self.url or self.name
