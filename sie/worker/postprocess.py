# Rule: pure, and numpy only. Imported late: a process that never runs a model has no numpy in it.
"""From what an adapter gives to what a request asked for: the element types of the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sie.wire.inference import Dense, DType, Encoded, Item, Multivector, Scored, Sparse
from sie.worker.adapters.contract import Result

if TYPE_CHECKING:
    from sie.wire.inference import Array, FloatArray


def convert(values: FloatArray, dtype: DType) -> Array:
    """Each row (last axis) of float32 as `dtype`.

    float16: rounded. int8: scaled so that the row's largest magnitude is 127. uint8: the row's smallest becomes 0 and
    its largest 255. binary: one bit a number, set where it is above 0, most significant first, ceil(n / 8) bytes.
    """
    if dtype == "float32":
        return values.astype(np.float32, copy=False)
    if dtype == "float16":
        return values.astype(np.float16)
    if dtype == "binary":
        return np.packbits(values > 0, axis=-1)
    if not values.size:
        return values.astype(dtype)
    if dtype == "int8":
        largest = np.abs(values).max(axis=-1, keepdims=True)
        scaled = values / np.where(largest == 0, 1, largest) * 127
    else:
        smallest = values.min(axis=-1, keepdims=True)
        extent = values.max(axis=-1, keepdims=True) - smallest
        scaled = (values - smallest) / np.where(extent == 0, 1, extent) * 255
    return np.rint(scaled).astype(dtype)


def encoded(items: Sequence[Item], results: Sequence[Result], dtype: DType, sparse_dims: int | None) -> list[Encoded]:
    """Answers in the order of the items."""
    return [_encoded(item, result, dtype, sparse_dims) for item, result in zip(items, results, strict=True)]


def _encoded(item: Item, result: Result, dtype: DType, sparse_dims: int | None) -> Encoded:
    dense = sparse = multivector = None
    if result.dense is not None:
        dense = Dense(len(result.dense), dtype, convert(result.dense, dtype))
    if result.sparse is not None:
        # A sparse vector has too few numbers to gain from 8 bits: those types leave it as it is.
        kept: DType = "float16" if dtype == "float16" else "float32"
        indices, values = result.sparse
        sparse = Sparse(sparse_dims, kept, indices.astype(np.int32, copy=False), convert(values, kept))
    if result.multivector is not None:
        tokens, dims = result.multivector.shape
        multivector = Multivector(dims, tokens, dtype, convert(result.multivector, dtype))
    return Encoded(id=item.id, dense=dense, sparse=sparse, multivector=multivector)


def maxsim(query: FloatArray, document: FloatArray) -> float:
    """For each vector of the query its best match in the document, summed. 0 for an empty document."""
    if not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).sum())


def ranked(items: Sequence[Item], scores: Sequence[float]) -> list[Scored]:
    """By score, highest first; equal scores keep the order of the request. A score that is no number comes last."""
    order = sorted(range(len(items)), key=lambda one: (scores[one] != scores[one], -scores[one], one))
    return [Scored(_score_id(items[one], one), scores[one], rank) for rank, one in enumerate(order)]


def _score_id(item: Item, position: int) -> str:
    return item.id if item.id is not None else f"item-{position}"
