"""An InferenceEdge without models: vectors made from the text's bytes, and any error or delay that a test asks for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from sie.errors import InvalidInput, ModelNotFound
from sie.wire.inference import (
    Dense,
    EncodeAnswer,
    Encoded,
    EncodeRequest,
    ModelInfo,
    Multivector,
    ScoreAnswer,
    Scored,
    ScoreRequest,
    Sparse,
    Timing,
)

if TYPE_CHECKING:
    from sie.wire.inference import FloatArray

DIMS = 8


@dataclass
class ScriptedEdge:
    """`fails`: by model name, what requests to it raise; `takes_s`: how long they take; `waits`: those asked for."""

    names: Sequence[str] = ("org/model",)
    fails: Mapping[str, Exception] = field(default_factory=dict)
    takes_s: float = 0.0
    waits: list[float] = field(default_factory=list)

    def known_to(self, store: str) -> int:
        return 0

    def require(self, name: str) -> None:
        self.model(name)

    async def encode(self, name: str, request: EncodeRequest, *, wait_s: float) -> EncodeAnswer:
        await self._serve(name, wait_s)
        wanted = request.output_types or ("dense",)
        for one in wanted:
            if one not in ("dense", "sparse", "multivector"):
                raise InvalidInput(f"Model '{name}' gives no output '{one}'", path="params.output_types")
        items = [
            Encoded(
                id=item.id,
                dense=_dense(item.text) if "dense" in wanted else None,
                sparse=_sparse(item.text) if "sparse" in wanted else None,
                multivector=_multivector(item.text) if "multivector" in wanted else None,
            )
            for item in request.items
        ]
        tokens = sum(len(item.text.split()) for item in request.items)
        return EncodeAnswer(model=name, items=items, timing=_timing(tokens))

    async def score(self, name: str, request: ScoreRequest, *, wait_s: float) -> ScoreAnswer:
        await self._serve(name, wait_s)
        query = _vector(request.query.text)
        scored = sorted(
            (
                (float(query @ _vector(item.text)), item.id or f"item-{position}")
                for position, item in enumerate(request.items)
            ),
            key=lambda pair: -pair[0],
        )
        scores = [Scored(item_id=name, score=score, rank=rank) for rank, (score, name) in enumerate(scored)]
        return ScoreAnswer(model=name, query_id=request.query.id, scores=scores, timing=_timing(1))

    async def decode(self, name: str, token_ids: Sequence[Sequence[int]], *, wait_s: float) -> Sequence[str]:
        await self._serve(name, wait_s)
        return [" ".join(str(one) for one in ids) for ids in token_ids]

    def models(self) -> Sequence[ModelInfo]:
        return [_info(name) for name in sorted(self.names)]

    def model(self, name: str) -> ModelInfo:
        if name not in self.names:
            raise ModelNotFound(f"Model '{name[:100]}' is not known here", model=name[:100])
        return _info(name)

    async def _serve(self, name: str, wait_s: float) -> None:
        self.require(name)
        self.waits.append(wait_s)
        await trio.sleep(self.takes_s)
        if name in self.fails:
            raise self.fails[name]


def _vector(text: str) -> FloatArray:
    import numpy as np

    vector = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMS).astype("<f4")
    unit: FloatArray = vector / np.linalg.norm(vector)
    return unit


def _dense(text: str) -> Dense:
    return Dense(DIMS, "float32", _vector(text))


def _sparse(text: str) -> Sparse:
    import numpy as np

    words = np.unique(np.array([zlib.crc32(word.encode()) % 30522 for word in text.split()], dtype="<i4"))
    return Sparse(30522, "float32", words, np.ones(len(words), dtype="<f4"))


def _multivector(text: str) -> Multivector:
    import numpy as np

    words = text.split() or [""]
    return Multivector(DIMS, len(words), "float32", np.stack([_vector(word) for word in words]))


def _timing(tokens: int) -> Timing:
    return Timing(total_ms=3.5, queue_ms=0.5, tokenization_ms=1.0, inference_ms=2.0, tokens=tokens)


def _info(name: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        inputs=("text",),
        outputs=("dense", "sparse", "multivector", "score"),
        dims={"dense": DIMS, "multivector": DIMS},
        loaded=True,
        max_sequence_length=256,
        profiles={"default": {"is_default": True}},
        bundles=("default",),
        state="loaded",
    )
