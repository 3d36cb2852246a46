"""OpenAI's embeddings, as its client sends and reads them."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import InvalidInput
from sie.wire.embeddings import EmbeddingsRequest, read_embeddings, write_embeddings
from sie.wire.inference import Dense, EncodeAnswer, Encoded, Timing
from sie.wire.requests import Limits

LIMITS = Limits(items=3, text_bytes=50, values=1_000)


def read(body: Any) -> EmbeddingsRequest:
    return read_embeddings(orjson.dumps(body), LIMITS)


@pytest.mark.parametrize(
    ("given_input", "texts", "token_ids"),
    [
        ("a text", ("a text",), ()),
        (["a", "b"], ("a", "b"), ()),
        ([1, 2, 3, 4], (), ((1, 2, 3, 4),)),
        ([[1], [2, 3]], (), ((1,), (2, 3))),
    ],
)
def test_input_comes_in_four_shapes(given_input: Any, texts: Any, token_ids: Any) -> None:
    request = read({"model": "m/n", "input": given_input, "user": "u", "odd": {}})
    assert (request.texts, request.token_ids) == (texts, token_ids)
    assert (request.encoding, request.dimensions) == ("float", None)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": "a"}, "model"),
        ({"model": "", "input": "a"}, "model"),
        ({"model": 3, "input": "a"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": ""}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": 3}, "input"),
        ({"model": "m", "input": {}}, "input"),
        ({"model": "m", "input": ["a", 1]}, "input"),
        ({"model": "m", "input": [True]}, "input"),
        ({"model": "m", "input": [1.5]}, "input"),
        ({"model": "m", "input": [None]}, "input"),
        ({"model": "m", "input": [[1], "a"]}, "input"),
        ({"model": "m", "input": ["a"] * 4}, "input"),
        ({"model": "m", "input": ["a", "x" * 51]}, "input[1]"),
        ({"model": "m", "input": "x" * 51}, "input"),
        ({"model": "m", "input": [[]]}, "input[0]"),
        ({"model": "m", "input": [[1], [-1]]}, "input[1]"),
        ({"model": "m", "input": [[True]]}, "input[0]"),
        ({"model": "m", "input": [2**40]}, "input"),
        ({"model": "m", "input": [[1] * 51]}, "input[0]"),
        ({"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
        ({"model": "m", "input": "a", "dimensions": True}, "dimensions"),
        ({"model": "m", "input": "a", "dimensions": 2.5}, "dimensions"),
    ],
)
def test_a_fault_is_named_by_its_path(body: Any, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(body)
    assert caught.value.fields["path"] == path


VECTORS = np.array([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], "<f4")
ANSWER = EncodeAnswer(
    model="m/n",
    items=[Encoded(dense=Dense(3, "float32", row)) for row in VECTORS],
    timing=Timing(total_ms=1, queue_ms=0, tokenization_ms=0, inference_ms=1, tokens=11),
)


def written(**fields: Any) -> Any:
    return orjson.loads(write_embeddings(ANSWER, EmbeddingsRequest(model="m/n", texts=("a", "b"), **fields)))


def test_the_answer_has_openais_shape_and_the_tokenizers_count() -> None:
    assert written() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3.0, 4.0, 12.0]},
            {"object": "embedding", "index": 1, "embedding": [0.0, 0.0, 1.0]},
        ],
        "model": "m/n",
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    }


def test_base64_is_little_endian_float32() -> None:
    found = [base64.b64decode(one["embedding"]) for one in written(encoding="base64")["data"]]
    assert found == [bytes.fromhex("00004040 00008040 00004041"), bytes.fromhex("00000000 00000000 0000803f")]


def test_fewer_dimensions_are_the_first_ones_at_unit_length() -> None:
    vectors = [one["embedding"] for one in written(dimensions=2)["data"]]
    assert vectors == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert written(dimensions=3) == written()


def test_more_dimensions_than_the_model_has_are_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        written(dimensions=4)
    assert caught.value.fields["path"] == "dimensions"


def test_a_model_without_dense_vectors_is_refused() -> None:
    answer = EncodeAnswer(model="m/n", items=[Encoded()], timing=ANSWER.timing)
    with pytest.raises(InvalidInput):
        write_embeddings(answer, EmbeddingsRequest(model="m/n", texts=("a",)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=4), one, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_any_document_is_a_request_or_invalid_input(sent: Any, encoding: Any, dimensions: Any) -> None:
    with suppress(InvalidInput):
        read({"model": "m/n", "input": sent, "encoding_format": encoding, "dimensions": dimensions})
