"""What inference is asked and what it answers, as values: the shapes of SIE v0.1.10 without their bytes.

Arrays are numpy's; their types exist for the checker only, so that a router, which has no numpy, can import this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sie.catalog.canonical import Json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float32]
    Array: TypeAlias = npt.NDArray[Any]

DType = Literal["float32", "float16", "int8", "uint8", "binary"]
OutputType = Literal["dense", "sparse", "multivector"]
OUTPUT_TYPES: tuple[OutputType, ...] = ("dense", "sparse", "multivector")


@dataclass(frozen=True, slots=True)
class Item:
    """One text, and the id to give back with its answer."""

    text: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """`options` are as sent, `profile` among them if one was; None for what was not sent."""

    items: Sequence[Item]
    output_types: Sequence[str] | None = None
    output_dtype: str | None = None
    instruction: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    query: Item
    items: Sequence[Item]
    instruction: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dense:
    """`values`: [dims] of `dtype`; for binary, ceil(dims / 8) bytes, most significant bit first."""

    dims: int
    dtype: DType
    values: Array


@dataclass(frozen=True, slots=True)
class Sparse:
    """`indices`: int32 [n], ascending; `values`: [n]; `dims`: the vocabulary's size."""

    dims: int | None
    dtype: DType
    indices: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Multivector:
    """`values`: [num_tokens, token_dims] of `dtype`; for binary, the last axis is packed."""

    token_dims: int
    num_tokens: int
    dtype: DType
    values: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One item's answer: the outputs that were asked for."""

    id: str | None = None
    dense: Dense | None = None
    sparse: Sparse | None = None
    multivector: Multivector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds. `tokens`: what the request cost, padding not counted."""

    total_ms: float
    queue_ms: float
    tokenization_ms: float
    inference_ms: float
    postprocessing_ms: float = 0.0
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeAnswer:
    """`items` in the order they were asked."""

    model: str
    items: Sequence[Encoded]
    timing: Timing


@dataclass(frozen=True, slots=True)
class Scored:
    """`item_id`: as given, else `item-{position in the request}`."""

    item_id: str
    score: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """`scores` by score, highest first; rank counts from 0."""

    model: str
    query_id: str | None
    scores: Sequence[Scored]
    timing: Timing


State = Literal["available", "loading", "loaded", "unloading", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One item of `GET /v1/models`."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    dims: Mapping[str, int]
    loaded: bool
    max_sequence_length: int | None
    profiles: Mapping[str, Mapping[str, Any]]
    bundles: Sequence[str] = ()
    state: State = "available"
