"""Nothing a client can send to the Config API gives a 500, changes anything, or holds the process for long."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.conftest import service
from tests.pages import FIRST, MINIMAL

MODELS = "/v1/configs/models"
ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"


def model(more: str = "", *, sie_id: str = "a/b", profile: str = "", profiles: str = "") -> bytes:
    """A good document with one thing added."""
    named = profiles or f"profiles:\n  default:\n    adapter_path: {ADAPTER}\n{profile}"
    return f"sie_id: {sie_id}\n{named}{more}".encode()


def options(value: str) -> bytes:
    return model(profile=f"    adapter_options:\n      runtime:\n        x: {value}\n")


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 10)) for name in range(ord("b"), ord("j"))
)

NOT_YAML = {
    "empty": b"",
    "only a comment": b"# nothing\n",
    "binary": bytes(range(256)),
    "not UTF-8": b"sie_id: caf\xe9\n",
    "truncated": MINIMAL + b'hf_id: "intfloat/multi',
    "unclosed": b"sie_id: [",
    "a list": b"- a\n- b\n",
    "a scalar": b"hello",
    "two documents": MINIMAL + b"---\n" + MINIMAL,
    "alias bomb": BOMB,
    "nested a thousand deep": b"[" * 1000 + b"]" * 1000,
    "nested a thousand deep in a block": b"".join(b" " * depth + b"a:\n" for depth in range(300)),
    "duplicate key": MINIMAL + b"sie_id: c/d\n",
    "duplicate key as JSON": b'{"sie_id": "a/b", "sie_id": "c/d"}',
    "tab indentation": b"sie_id: a/b\nprofiles:\n\tdefault: {}\n",
    "unknown alias": b"sie_id: *nothing\n",
}

BAD_IDS = {
    "parent directory": "a/../b",
    "backslash": "'a\\b'",
    "double underscore": "a__b",
    "leading slash": "/etc/passwd",
    "leading dot": ".a",
    "control character": '"a\\u0007b"',
    "newline": '"a\\nb"',
    "ten thousand characters": "a" * 10_000,
    "reserved last segment": "a/status",
    "reserved in capitals": "a/Status",
    "empty segment": "a//b",
    "trailing slash": "a/",
    "space": "'a b'",
    "non-ASCII": "a/é",
    "colon": "'a:b'",
}

INVALID = {
    "no sie_id": MINIMAL.split(b"\n", 1)[1],
    "number as id": model(sie_id="5"),
    "no profiles": b"sie_id: a/b\n",
    "empty profiles": b"sie_id: a/b\nprofiles: {}\n",
    "profiles is a list": b"sie_id: a/b\nprofiles: [default]\n",
    "profile is a string": b"sie_id: a/b\nprofiles:\n  default: yes please\n",
    "profile is nothing": b"sie_id: a/b\nprofiles:\n  default:\n",
    "no default": model(profiles=f"profiles:\n  other:\n    adapter_path: {ADAPTER}\n"),
    "unknown top-level field": model("owner: me\n"),
    "unknown profile field": model(profile="    colour: red\n"),
    "unknown options": model(profile="    adapter_options:\n      buildtime: {}\n"),
    "unknown loadtime key": model(profile="    adapter_options:\n      loadtime:\n        exec: rm\n"),
    "options is a list": model(profile="    adapter_options: []\n"),
    "negative batch": model(profile="    max_batch_tokens: -1\n"),
    "zero batch": model(profile="    max_batch_tokens: 0\n"),
    "huge batch": model(profile="    max_batch_tokens: 99999999999\n"),
    "boolean batch": model(profile="    max_batch_tokens: true\n"),
    "float batch": model(profile="    max_batch_tokens: 8192.0\n"),
    "unknown precision": model(profile="    compute_precision: float64\n"),
    "unknown class of a known module": model(
        profiles="profiles:\n  default:\n    adapter_path: sie_server.adapters.sentence_transformer:Nope\n"
    ),
    "unroutable module": model(profiles="profiles:\n  default:\n    adapter_path: my.adapters:Mine\n"),
    "adapter file": model(profiles="profiles:\n  default:\n    adapter_path: /tmp/evil.py:Adapter\n"),
    "adapter without class": model(profiles="profiles:\n  default:\n    adapter_path: my.adapters\n"),
    "missing parent": model("  p:\n    extends: nobody\n"),
    "chain": model("  p:\n    extends: default\n  q:\n    extends: p\n"),
    "cycle": model(profiles="profiles:\n  default:\n    extends: other\n  other:\n    extends: default\n"),
    "extends itself": model(profiles="profiles:\n  default:\n    extends: default\n"),
    "profile name with a slash": model(f"  a/b:\n    adapter_path: {ADAPTER}\n"),
    "profile name too long": model(f"  {'p' * 65}:\n    adapter_path: {ADAPTER}\n"),
    "file path as hub id": model("hf_id: /etc/passwd\n"),
    "relative path as hub id": model("hf_id: ../../weights\n"),
    "weights outside any root": model("weights_path: /etc\n"),
    "non-string key": model("5: five\n"),
    "non-string key in options": options("{1: 2}"),
    "date": options("2024-01-01"),
    "binary": options("!!binary aGVsbG8="),
    "set": options("!!set {a, b}"),
    "not a number": options(".nan"),
    "infinity": options(".inf"),
    "integer beyond 64 bits": options("18446744073709551616"),
    "unknown tag": options("!!python/object:os.system {}"),
    "too many profiles": model(
        "".join(f"  p{number}:\n    extends: default\n" for number in range(256)),
    ),
    "tasks of another shape": model("tasks: [encode]\n"),
    "unknown task": model("tasks:\n  dance: {}\n"),
    "dim of zero": model("tasks:\n  encode:\n    dense:\n      dim: 0\n"),
}


@pytest.fixture
async def untouched(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose server must know at the end exactly what it knew at the beginning."""
    before = (await client.get(MODELS)).content, (await client.get(MODELS)).headers["X-SIE-Config-Revision"]
    yield client
    after = (await client.get(MODELS)).content, (await client.get(MODELS)).headers["X-SIE-Config-Revision"]
    assert after == before


async def test_what_is_not_one_yaml_mapping_is_400(untouched: httpx.AsyncClient) -> None:
    for name, body in NOT_YAML.items():
        reply = await untouched.post(MODELS, content=body)
        assert (reply.status_code, reply.json()["error"]) == (400, "parse_error"), (name, reply.text)
        assert reply.json()["message"]


async def test_a_bad_id_is_400(untouched: httpx.AsyncClient) -> None:
    for name, sie_id in BAD_IDS.items():
        reply = await untouched.post(MODELS, content=model(sie_id=sie_id))
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid_model_id"), (name, reply.text)
        assert len(reply.content) < 4000, name
        shown = await untouched.get(f"{MODELS}/{sie_id.strip(chr(34))}")
        assert shown.status_code in {200, 404}, name


async def test_what_is_well_formed_and_wrong_is_422_and_names_the_place(untouched: httpx.AsyncClient) -> None:
    for name, body in INVALID.items():
        reply = await untouched.post(MODELS, content=body)
        assert (reply.status_code, reply.json()["error"]) == (422, "validation_error"), (name, reply.text)
        details = reply.json()["details"]
        assert details, name
        assert all(one["path"] is not None and one["message"] for one in details), (name, details)


async def test_every_fault_is_named_at_once(untouched: httpx.AsyncClient) -> None:
    body = model("owner: me\nhf_id: /etc\n", profile="    max_batch_tokens: -1\n    compute_precision: float64\n")
    details = (await untouched.post(MODELS, content=body)).json()["details"]
    assert {one["path"] for one in details} == {
        "owner",
        "hf_id",
        "profiles.default.max_batch_tokens",
        "profiles.default.compute_precision",
    }


async def test_a_duplicate_key_is_named(untouched: httpx.AsyncClient) -> None:
    reply = await untouched.post(MODELS, content=NOT_YAML["duplicate key"])
    assert "sie_id" in reply.json()["message"]


async def test_a_body_whose_newlines_curl_took_names_the_cure(untouched: httpx.AsyncClient) -> None:
    reply = await untouched.post(MODELS, content=FIRST.replace(b"\n", b""))
    assert (reply.status_code, reply.json()["error"]) == (400, "parse_error")
    assert "--data-binary" in reply.json()["message"]


async def test_a_large_body_is_413_whether_it_says_so_or_not(untouched: httpx.AsyncClient) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"#" * 1024

    for body in (b"#" * (128 * 1024 + 1), unannounced()):
        reply = await untouched.post(MODELS, content=body)
        assert (reply.status_code, reply.json()["error"]) == (413, "payload_too_large")


async def test_an_id_that_differs_only_in_case_from_another_is_422(client: httpx.AsyncClient) -> None:
    assert (await client.post(MODELS, content=model(sie_id="Org/Model"))).status_code == 201
    reply = await client.post(MODELS, content=model(sie_id="org/model"))
    assert (reply.status_code, reply.json()["error"]) == (422, "validation_error")


async def test_a_json_body_is_yaml_too(client: httpx.AsyncClient) -> None:
    body = json.dumps({"sie_id": "a/json", "profiles": {"default": {"adapter_path": ADAPTER}}}, indent="\t")
    assert (await client.post(MODELS, content=body)).status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
async def test_an_odd_idempotency_key_is_422(untouched: httpx.AsyncClient, key: str) -> None:
    reply = await untouched.post(MODELS, content=MINIMAL, headers={"Idempotency-Key": key})
    assert (reply.status_code, reply.json()["error"]) == (422, "validation_error")


@settings(max_examples=60)
@given(
    body=st.one_of(
        st.binary(max_size=400),
        st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
            max_leaves=20,
        ).map(lambda value: json.dumps({"sie_id": "fuzz/fuzz", "profiles": value}).encode()),
    )
)
async def test_no_bytes_give_a_500(body: bytes) -> None:
    async with service() as client:
        assert (await client.post(MODELS, content=body)).status_code in {201, 400, 422}
