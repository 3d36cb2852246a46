"""The element types of the wire."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sie.wire.inference import DType, Item
from sie.worker.adapters.contract import Result
from sie.worker.postprocess import convert, encoded, maxsim, ranked

if TYPE_CHECKING:
    from sie.wire.inference import FloatArray

ROW = np.array([-1.0, -0.5, 0.0, 0.25, 1.0, 0.125, -2.0, 2.0, 0.5], dtype=np.float32)
FLOATS = arrays(np.float32, array_shapes(min_dims=1, max_dims=2), elements=st.floats(-1e6, 1e6, width=32))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", ROW.tolist()),
        ("float16", ROW.tolist()),
        ("int8", [-64, -32, 0, 16, 64, 8, -127, 127, 32]),
        ("uint8", [64, 96, 128, 143, 191, 135, 0, 255, 159]),
        ("binary", [0b00011101, 0b10000000]),
    ],
)
def test_one_row_in_every_type(dtype: DType, expected: list[float]) -> None:
    converted = convert(ROW, dtype)
    assert converted.tolist() == expected
    assert converted.dtype == (np.uint8 if dtype == "binary" else np.dtype(dtype))


@given(FLOATS)
def test_int8_is_within_half_a_step_of_the_row_scaled_to_127(values: FloatArray) -> None:
    converted = convert(values, "int8")
    largest = np.abs(values).max(axis=-1, keepdims=True)
    assert np.abs(converted / 127 * largest - values).max() <= largest.max() / 127 * 0.51
    assert (np.abs(converted.astype(int)).max(axis=-1) == np.where(largest[..., 0] == 0, 0, 127)).all()


@given(FLOATS)
def test_uint8_spans_each_row(values: FloatArray) -> None:
    converted = convert(values, "uint8")
    constant = values.min(axis=-1) == values.max(axis=-1)
    assert (converted.min(axis=-1) == 0).all()
    assert (converted.max(axis=-1) == np.where(constant, 0, 255)).all()


@given(FLOATS)
def test_binary_has_the_sign_of_each_number(values: FloatArray) -> None:
    bits = np.unpackbits(convert(values, "binary"), axis=-1, count=values.shape[-1])
    assert (bits.astype(bool) == (values > 0)).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "binary"])
def test_no_tokens_are_no_rows(dtype: DType) -> None:
    assert len(convert(np.zeros((0, 8), dtype=np.float32), dtype)) == 0


def test_token_vectors_are_converted_one_by_one() -> None:
    vectors = np.stack([ROW, ROW * 100])
    (answer,) = encoded([Item("text", "a")], [Result(multivector=vectors)], "int8", None)
    assert answer.multivector is not None
    assert answer.multivector.values[0].tolist() == answer.multivector.values[1].tolist()
    assert (answer.multivector.num_tokens, answer.multivector.token_dims) == (2, 9)


def test_packed_bits_keep_the_dimension_they_came_from() -> None:
    (answer,) = encoded([Item("text", "a")], [Result(dense=ROW)], "binary", None)
    assert answer.dense is not None
    assert (answer.id, answer.dense.dims, answer.dense.dtype, answer.dense.values.shape) == ("a", 9, "binary", (2,))


@pytest.mark.parametrize(("dtype", "kept"), [("float16", "float16"), ("int8", "float32"), ("binary", "float32")])
def test_sparse_values_stay_floats(dtype: DType, kept: str) -> None:
    pair = (np.array([3, 7]), np.array([0.5, 1.5], dtype=np.float32))
    (answer,) = encoded([Item("text")], [Result(sparse=pair)], dtype, 30522)
    assert answer.sparse is not None
    assert (answer.sparse.dtype, answer.sparse.dims) == (kept, 30522)
    assert answer.sparse.indices.dtype == np.int32
    assert answer.sparse.values.tolist() == [0.5, 1.5]


def test_maxsim_sums_the_best_match_of_each_query_vector() -> None:
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    document = np.array([[0.5, 0], [0.25, 2], [1, 1]], dtype=np.float32)
    assert maxsim(query, document) == 3
    assert maxsim(query, document[:0]) == 0


def test_scores_are_ranked_highest_first_and_stably() -> None:
    items = [Item("a"), Item("b", "named"), Item("c"), Item("d")]
    answer = ranked(items, [0.5, 0.9, 0.5, math.nan])
    assert [(one.item_id, one.rank) for one in answer] == [("named", 0), ("item-0", 1), ("item-2", 2), ("item-3", 3)]
