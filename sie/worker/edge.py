"""What the inference routes ask of whatever runs models: the engine in this process, or a script in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sie.errors import ModelLoading, ModelNotFound, ProfileNotFound
from sie.wire.inference import EncodeAnswer, EncodeRequest, ModelInfo, ScoreAnswer, ScoreRequest

_BEHIND_RETRY_S = 1.0  # news takes milliseconds, and a look for what was missed about a second


class InferenceEdge(Protocol):
    """`name` is a model spec as the client typed it: `[bundle:/]org/model[:profile]`.

    Every method raises InvalidModelSpec, ModelNotFound and BundleConflict for a name that leads nowhere.
    """

    def known_to(self, store: str) -> int:
        """Up to which revision of a store everything is known that a name may lead to; "": of the own."""

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


class Knowing:
    """What a router knows of, as of a revision of a store, and has not arrived here is on its way, not absent.

    Around what looks it up: turns ModelNotFound and ProfileNotFound into ModelLoading. `known_to`: up to where
    everything of a store has arrived.
    """

    __slots__ = ("_known_to", "_needed")

    def __init__(self, needed: tuple[str, int], known_to: Callable[[str], int]) -> None:
        self._needed = needed
        self._known_to = known_to

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, fault: BaseException | None, __: object) -> None:
        store, revision = self._needed
        if isinstance(fault, ModelNotFound | ProfileNotFound) and revision > self._known_to(store):
            message = f"{fault.message}; revision {revision} is on its way here"
            raise ModelLoading(message, retry_after_s=_BEHIND_RETRY_S) from None
