"""The inference routes over a real socket: bodies, headers, codes, and the order in which things are refused."""

from __future__ import annotations

import random
from typing import Any

import httpx
import msgpack
import msgpack_numpy
import orjson
import pytest

from sie import errors
from sie.testing.edge import DIMS, ScriptedEdge
from tests.http.conftest import OpenSite

ONE = {"items": [{"text": "a text", "id": "1"}]}
SCORE = {"query": {"text": "q", "id": "Q"}, "items": [{"text": "b"}, {"text": "q", "id": "same"}]}
JSON = {"Accept": "application/json"}
PACKED = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


def unpacked(answer: httpx.Response) -> Any:
    assert answer.headers["content-type"] == "application/msgpack"
    return msgpack.unpackb(answer.content, object_hook=msgpack_numpy.decode)


async def test_encode_speaks_msgpack_as_the_sdk_does(open_site: OpenSite) -> None:
    site = await open_site()
    body = {**ONE, "params": {"output_types": ["dense", "sparse", "multivector"]}}
    async with site.client() as client:
        answer = await client.post("/v1/encode/org/model", content=msgpack.packb(body), headers=PACKED)
    found = unpacked(answer)
    [item] = found["items"]
    assert (found["model"], item["id"], item["dense"]["dims"]) == ("org/model", "1", DIMS)
    assert item["dense"]["values"].shape == (DIMS,)
    assert item["sparse"]["indices"].shape == item["sparse"]["values"].shape == (2,)
    assert item["multivector"]["values"].shape == (2, DIMS)
    assert set(found["timing"]) == {"total_ms", "queue_ms", "tokenization_ms", "inference_ms", "postprocessing_ms"}
    assert answer.headers["x-queue-time"] == "0.50"
    assert answer.headers["x-total-time"] == "3.50"
    assert "x-postprocessing-time" not in answer.headers
    assert answer.headers["x-sie-server-version"]


@pytest.mark.parametrize("accept", [None, "*/*", "text/html"])
async def test_json_in_and_no_wish_for_json_out_is_msgpack_out(open_site: OpenSite, accept: str | None) -> None:
    site = await open_site()
    async with site.client(headers={} if accept is None else {"Accept": accept}) as client:
        if accept is None:
            del client.headers["Accept"]
        unpacked(await client.post("/v1/encode/org/model", json=ONE))


async def test_json_in_and_json_out(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client(headers=JSON) as client:
        answer = await client.post("/v1/encode/org/model", json=ONE)
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()["items"][0]["dense"]["values"]) == DIMS


async def test_score_is_best_first_and_names_what_has_no_id(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client(headers=JSON) as client:
        answer = await client.post("/v1/score/org/model", json=SCORE)
    found = answer.json()
    assert (found["model"], found["query_id"]) == ("org/model", "Q")
    assert [(one["item_id"], one["rank"]) for one in found["scores"]] == [("same", 0), ("item-0", 1)]
    assert "timing" not in found
    assert answer.headers["x-inference-time"] == "2.00"


async def test_extract_is_refused_as_input_and_an_unknown_model_before_it(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client() as client:
        known = await client.post("/v1/extract/org/model", json=ONE)
        unknown = await client.post("/v1/extract/org/other", json=ONE)
    assert (known.status_code, known.json()["detail"]["code"]) == (400, "INVALID_INPUT")
    assert (unknown.status_code, unknown.json()["detail"]["code"]) == (404, "MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (errors.ModelLoading("loading", retry_after_s=2.1), 503, "MODEL_LOADING", "3"),
        (errors.ModelLoadFailed("failed", reason="no weights"), 502, "MODEL_LOAD_FAILED", None),
        (errors.QueueFull("full", retry_after_s=0.1), 503, "QUEUE_FULL", "1"),
        (errors.InferenceFailed("raised"), 500, "INFERENCE_ERROR", None),
        (errors.ShuttingDown("bye", retry_after_s=5), 503, "SHUTTING_DOWN", "5"),
        (errors.InvalidInput("no such output", path="params.output_types"), 400, "INVALID_INPUT", None),
        (errors.BundleConflict("not there", compatible_bundles=["default"]), 409, "BUNDLE_CONFLICT", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize(("path", "body"), [("/v1/encode/org/model", ONE), ("/v1/score/org/model", SCORE)])
async def test_the_engines_errors_are_json_under_detail_whatever_accept_says(
    open_site: OpenSite, path: str, body: Any, error: Exception, status: int, code: str, retry_after: str | None
) -> None:
    site = await open_site(edge=ScriptedEdge(fails={"org/model": error}))
    async with site.client(headers=PACKED) as client:
        answer = await client.post(path, content=msgpack.packb(body))
    assert (answer.status_code, answer.json()["detail"]["code"]) == (status, code)
    assert "error" not in answer.json()
    assert answer.headers.get("retry-after") == retry_after


async def test_the_same_errors_reach_openais_clients_in_openais_envelope(open_site: OpenSite) -> None:
    site = await open_site(edge=ScriptedEdge(fails={"org/model": errors.QueueFull("full", retry_after_s=3)}))
    async with site.client() as client:
        full = await client.post("/v1/embeddings", json={"model": "org/model", "input": "a"})
        unknown = await client.post("/v1/embeddings", json={"model": "org/other", "input": "a"})
        faulty = await client.post("/v1/embeddings", json={"model": "org/model", "input": []})
    assert (full.status_code, full.headers["retry-after"], full.json()["error"]["code"]) == (503, "3", "queue_full")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert (faulty.status_code, faulty.json()["error"]["param"]) == (400, "input")
    assert set(full.json()) == set(unknown.json()) == set(faulty.json()) == {"error"}


async def test_an_unknown_model_is_refused_before_its_body_is_read(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(b"POST /v1/encode/org/other HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 404")


async def test_a_request_for_other_machines_is_refused_before_anything_else(open_site: OpenSite) -> None:
    site = await open_site(machine_profile="l4-spot")
    async with site.client(headers={"X-SIE-MACHINE-PROFILE": "h100"}) as client:
        for path in ("/v1/encode/org/other", "/v1/score/org/other", "/v1/extract/org/other"):
            answer = await client.post(path, content=b"not a body")
            detail = answer.json()["detail"]
            assert (answer.status_code, detail["code"]) == (400, "INVALID_INPUT")
            assert (detail["requested_profile"], detail["worker_identity"]) == ("h100", "l4-spot")
        assert (await client.post("/v1/embeddings", content=b"not a body")).status_code == 400
        ours = await client.post("/v1/encode/org/model", json=ONE, headers={"X-SIE-MACHINE-PROFILE": "l4"})
        assert ours.status_code == 200


async def test_a_preference_to_wait_is_passed_on_capped_and_confirmed(open_site: OpenSite) -> None:
    site = await open_site(wait_most_s=60)
    async with site.client() as client:
        for prefer, confirmed in ((None, None), ("wait=30", "wait=30"), ("wait=500", "wait=60")):
            headers = {} if prefer is None else {"Prefer": prefer}
            answer = await client.post("/v1/encode/org/model", json=ONE, headers=headers)
            assert answer.headers.get("preference-applied") == confirmed
        assert site.edge.waits == [0, 30, 60]


async def test_openais_clients_wait_for_a_model_unless_they_prefer_not_to(open_site: OpenSite) -> None:
    site = await open_site(wait_most_s=60)
    async with site.client() as client:
        await client.post("/v1/embeddings", json={"model": "org/model", "input": "a"})
        await client.post("/v1/embeddings", json={"model": "org/model", "input": "a"}, headers={"Prefer": "wait=0"})
    assert site.edge.waits == [60, 0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/encode/org/model", ONE),
        ("/v1/score/org/model", SCORE),
        ("/v1/embeddings", {"model": "org/model", "input": [1, 2]}),
    ],
)
async def test_a_requests_own_time_ends_it_with_504(open_site: OpenSite, path: str, body: Any) -> None:
    site = await open_site(edge=ScriptedEdge(takes_s=3600))
    async with site.client() as client:
        late = await client.post(path, json=body, headers={"X-SIE-Timeout-Ms": "20"})
        odd = await client.post(path, json=body, headers={"X-SIE-Timeout-Ms": "soon"})
    assert (late.status_code, late.headers["x-sie-error-code"].upper()) == (504, "DEADLINE_EXCEEDED")
    assert (odd.status_code, odd.headers["x-sie-error-code"].upper()) == (400, "INVALID_INPUT")


async def test_token_ids_are_read_by_the_models_own_tokenizer(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client() as client:
        by_ids = await client.post("/v1/embeddings", json={"model": "org/model", "input": [[7, 8], [9]]})
        by_text = await client.post("/v1/embeddings", json={"model": "org/model", "input": ["7 8", "9"]})
    assert by_ids.json() == by_text.json()
    assert by_ids.json()["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_models_are_listed_and_shown(open_site: OpenSite) -> None:
    site = await open_site(edge=ScriptedEdge(names=("b/two", "a/one:x")))
    async with site.client() as client:
        listed = (await client.get("/v1/models")).json()
        shown = (await client.get("/v1/models/b/two")).json()
        missing = await client.get("/v1/models/c/three")
    assert [one["name"] for one in listed["models"]] == [one["id"] for one in listed["data"]] == ["a/one:x", "b/two"]
    assert shown["name"] == shown["id"] == "b/two"
    assert (missing.status_code, missing.json()["detail"]["code"]) == (404, "MODEL_NOT_FOUND")


@pytest.mark.parametrize(("name", "path"), [("default:/org/model", "default:/org/model"), ("org/model", "org%2Fmodel")])
async def test_a_name_may_hold_a_bundle_or_escapes(open_site: OpenSite, name: str, path: str) -> None:
    site = await open_site(edge=ScriptedEdge(names=(name,)))
    async with site.client(headers=JSON) as client:
        assert (await client.post(f"/v1/encode/{path}", json=ONE)).json()["model"] == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/encode/org/model"),
        ("POST", "/v1/score/org/model"),
        ("POST", "/v1/extract/org/model"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/org/model"),
    ],
)
async def test_every_route_asks_for_a_token_first(open_site: OpenSite, method: str, path: str) -> None:
    site = await open_site(auth_token="reader", admin_token="chief")
    async with site.client() as client:
        nobody = await client.request(method, path)
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"] == "Bearer"
        for token in ("reader", "chief"):
            known = await client.request(method, path, headers={"Authorization": f"Bearer {token}"})
            assert known.status_code in (200, 400)


async def test_limits_are_those_of_the_settings(open_site: OpenSite) -> None:
    site = await open_site(request_items=2, item_text_bytes=10, request_body_bytes=200)
    async with site.client() as client:
        many = await client.post("/v1/encode/org/model", json={"items": [{"text": "a"}] * 3})
        long = await client.post("/v1/encode/org/model", json={"items": [{"text": "a" * 11}]})
        large = await client.post("/v1/encode/org/model", json={"items": [{"text": "a" * 300}]})
    assert [one.status_code for one in (many, long, large)] == [400, 400, 413]
    assert [one.json()["detail"].get("path") for one in (many, long)] == ["items", "items[0].text"]
    assert large.json()["detail"]["code"] == "PAYLOAD_TOO_LARGE"


PATHS = ("/v1/encode/org/model", "/v1/score/org/model", "/v1/extract/org/model", "/v1/embeddings")
SEEDS = (
    orjson.dumps(ONE),
    orjson.dumps(SCORE),
    orjson.dumps({"model": "org/model", "input": [[1, 2], [3]], "dimensions": 4, "encoding_format": "base64"}),
    msgpack.packb({**ONE, "params": {"options": {"profile": "x"}, "output_types": ["dense"]}}),
    msgpack.packb(SCORE),
)
TYPES = ("application/json", "application/msgpack", "application/x-msgpack; a=b", "", "text/plain", "\xff")
ACCEPTS = ("application/json", "application/msgpack", "*/*", "", ";q=", "\xff")


async def test_arbitrary_bodies_and_headers_are_never_our_fault(open_site: OpenSite) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    site = await open_site()
    async with site.client() as client:
        for _ in range(300):
            body = bytearray(chance.choice(SEEDS) if chance.random() < 0.8 else chance.randbytes(chance.randrange(300)))
            for _ in range(chance.randrange(4)):
                place = chance.randrange(len(body) + 1)
                body[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            headers = {
                b"Content-Type": chance.choice(TYPES).encode("latin-1"),
                b"Accept": chance.choice(ACCEPTS).encode("latin-1"),
            }
            answer = await client.post(chance.choice(PATHS), content=bytes(body), headers=headers)
            assert answer.status_code in (200, 400, 404), (answer.text, bytes(body))
