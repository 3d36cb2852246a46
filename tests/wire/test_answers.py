"""Answers have the shapes that v0.1.10's clients read, in both encodings."""

from __future__ import annotations

from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import orjson
import pytest

from sie.wire.answers import (
    timing_headers,
    wants_msgpack,
    write_encode,
    write_json,
    write_model,
    write_models,
    write_score,
)
from sie.wire.inference import (
    Dense,
    EncodeAnswer,
    Encoded,
    ModelInfo,
    Multivector,
    ScoreAnswer,
    Scored,
    Sparse,
    Timing,
)

TIMING = Timing(total_ms=10.126, queue_ms=1, tokenization_ms=2.5, inference_ms=6, postprocessing_ms=0, tokens=9)
ANSWER = EncodeAnswer(
    model="org/model",
    items=[
        Encoded(id="a", dense=Dense(2, "float32", np.array([0.1, -2.0], "<f4"))),
        Encoded(
            sparse=Sparse(30522, "float16", np.array([3, 9], "<i4"), np.array([0.5, 1.0], "<f2")),
            multivector=Multivector(2, 3, "float32", np.arange(6, dtype="<f4").reshape(3, 2)),
        ),
        Encoded(dense=Dense(12, "binary", np.array([255, 240], "|u1"))),
        Encoded(sparse=Sparse(None, "float32", np.array([], "<i4"), np.array([], "<f4"))),
    ],
    timing=TIMING,
)


def shape(value: Any) -> Any:
    """The same in both encodings: arrays as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else value


def test_json_and_msgpack_say_the_same_and_ids_only_where_given() -> None:
    packed = shape(msgpack.unpackb(write_encode(ANSWER, as_msgpack=True), object_hook=msgpack_numpy.decode))
    spelled = orjson.loads(write_encode(ANSWER, as_msgpack=False))
    first = packed["items"][0]["dense"].pop("values"), spelled["items"][0]["dense"].pop("values")
    assert first == ([pytest.approx(0.1), -2.0], [0.1, -2.0])
    assert packed == spelled
    assert spelled == {
        "model": "org/model",
        "items": [
            {"id": "a", "dense": {"dims": 2, "dtype": "float32"}},
            {
                "sparse": {"dims": 30522, "dtype": "float16", "indices": [3, 9], "values": [0.5, 1.0]},
                "multivector": {
                    "token_dims": 2,
                    "num_tokens": 3,
                    "dtype": "float32",
                    "values": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]],
                },
            },
            {"dense": {"dims": 12, "dtype": "binary", "values": [255, 240]}},
            {"sparse": {"dims": None, "dtype": "float32", "indices": [], "values": []}},
        ],
        "timing": {
            "total_ms": 10.126,
            "queue_ms": 1,
            "tokenization_ms": 2.5,
            "inference_ms": 6,
            "postprocessing_ms": 0,
        },
    }


def test_arrays_that_are_views_are_written_in_json_too() -> None:
    assert write_json({"v": np.arange(6, dtype="<f4").reshape(2, 3).T[::2]}) == b'{"v":[[0.0,3.0],[2.0,5.0]]}'


@pytest.mark.parametrize("as_msgpack", [True, False])
def test_scores_have_no_timing_and_a_query_id_even_if_null(as_msgpack: bool) -> None:
    scores = [Scored("b", np.float32(0.5), 0), Scored("item-0", -1.0, 1)]  # type: ignore[arg-type]  # as numpy gives it
    content = write_score(ScoreAnswer(model="m/n", query_id=None, scores=scores, timing=TIMING), as_msgpack=as_msgpack)
    assert (msgpack.unpackb(content) if as_msgpack else orjson.loads(content)) == {
        "model": "m/n",
        "query_id": None,
        "scores": [{"item_id": "b", "score": 0.5, "rank": 0}, {"item_id": "item-0", "score": -1.0, "rank": 1}],
    }


@pytest.mark.parametrize(
    ("accept", "packed"),
    [
        (None, True),
        ("", True),
        ("*/*", True),
        ("text/html", True),
        ("application/json", False),
        ("APPLICATION/JSON; q=0.9", False),
        ("text/html, application/json", False),
        ("application/json, application/msgpack;q=0.1", True),
        ("application/x-msgpack", True),
        (";;;,,,\x00", True),
    ],
)
def test_the_accept_header_decides_as_in_v0_1_10(accept: str | None, packed: bool) -> None:
    assert wants_msgpack(accept) is packed


def test_timing_headers_are_milliseconds_with_two_decimals() -> None:
    assert timing_headers(TIMING) == {
        "X-Queue-Time": "1.00",
        "X-Tokenization-Time": "2.50",
        "X-Inference-Time": "6.00",
        "X-Total-Time": "10.13",
    }
    slow = Timing(total_ms=1, queue_ms=0, tokenization_ms=0, inference_ms=0, postprocessing_ms=0.125)
    assert timing_headers(slow)["X-Postprocessing-Time"] == "0.12"


MODEL = ModelInfo(
    name="org/model",
    inputs=("text",),
    outputs=("dense",),
    dims={"dense": 384},
    loaded=False,
    max_sequence_length=None,
    profiles={"default": {"is_default": True}},
    bundles=("default",),
    state="available",
)


def test_models_are_listed_for_both_kinds_of_clients() -> None:
    listed = orjson.loads(write_models([MODEL]))
    assert listed == {
        "models": [
            {
                "name": "org/model",
                "inputs": ["text"],
                "outputs": ["dense"],
                "dims": {"dense": 384},
                "loaded": False,
                "max_sequence_length": None,
                "profiles": {"default": {"is_default": True}},
                "bundles": ["default"],
                "state": "available",
            }
        ],
        "object": "list",
        "data": [{"id": "org/model", "object": "model", "created": 0, "owned_by": "sie"}],
    }
    assert orjson.loads(write_model(MODEL)) == {**listed["models"][0], **listed["data"][0]}
