"""What the inference routes ask of whatever runs models: the engine in this process, or a script in a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from sie.wire.inference import EncodeAnswer, EncodeRequest, ModelInfo, ScoreAnswer, ScoreRequest


class InferenceEdge(Protocol):
    """`name` is a model spec as the client typed it: `[bundle:/]org/model[:profile]`.

    Every method raises InvalidModelSpec, ModelNotFound and BundleConflict for a name that leads nowhere.
    """

    @property
    def revision(self) -> int:
        """Up to where everything is known that a name may lead to."""

    def require(self, name: str) -> None:
        """Return if there is such a model here: asked before a body is read."""

    async def encode(self, name: str, request: EncodeRequest, *, wait_s: float) -> EncodeAnswer:
        """`wait_s`: how long to wait for a model that is still loading; 0 answers ModelLoading at once.

        Raises InvalidInput, ModelLoading, ModelLoadFailed, QueueFull, InferenceFailed, ShuttingDown.
        Cancelled: the request's items leave the queue; what is on the device already is computed and thrown away.
        """

    async def score(self, name: str, request: ScoreRequest, *, wait_s: float) -> ScoreAnswer:
        """As encode."""

    async def decode(self, name: str, token_ids: Sequence[Sequence[int]], *, wait_s: float) -> Sequence[str]:
        """The texts that the model's tokenizer reads from ids. As encode."""

    def models(self) -> Iterable[ModelInfo]:
        """All that there are now, by name; each is described when it is come to."""

    def model(self, name: str) -> ModelInfo:
        """One of them."""
