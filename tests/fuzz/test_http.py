"""Requests that each process's own document allows, and such that it does not, to the real processes.

Where document and answer differ, one of them is wrong. A failure prints the request as a curl line, and the seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import msgpack
import msgpack_numpy
import numpy as np
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks as conformance

from sie.http.openapi import document
from tests.processes import Served, sie_process

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DENSE = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
TOKEN = {"Authorization": "Bearer admin"}
MACHINE = "l4"
ENVIRONMENT = {
    "SIE_ADMIN_TOKEN": "admin",
    "SIE_AUTH_TOKEN": "reader",
    "SIE_MACHINE_PROFILE": MACHINE,
    "SIE_CONFIG_ACK_LINGER_MS": "0",
    "SIE_WEIGHTS_ROOT": "/nowhere",
    "SIE_ROUTER_MIN_REVISION_S": "0.01",
    "SIE_LOG_LEVEL": "error",
    "OMP_NUM_THREADS": "1",  # three processes on few cores
}
SEED = int(os.environ.get("FUZZ_SEED", random.getrandbits(32)))
THOROUGH = settings().max_examples > 100  # as in the profile "fuzz"
# Of an endless stream there is no whole answer: tests/fuzz/test_openapi.py holds the watch against its description.
ENDLESS = "/v1/configs/watch"

CHECKED = [
    not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
    conformance.negative_data_rejection,
    conformance.missing_required_header,
    conformance.ignored_auth,
    conformance.unsupported_method,
    conformance.allow_header_conformance,
]


@schemathesis.serializer("application/msgpack")
def as_msgpack(_context: object, value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=str)
    return packed


@schemathesis.deserializer("application/msgpack")
def from_msgpack(_context: object, response: schemathesis.Response) -> Any:
    return from_packed(response.content)


def from_packed(content: bytes) -> Any:
    """An answer as the clients' own library reads it."""
    return listed(msgpack.unpackb(content, object_hook=msgpack_numpy.decode))


def listed(value: Any) -> Any:
    """Arrays as the lists that JSON has in their place."""
    if isinstance(value, dict):
        return {key: listed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [listed(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.fixture(scope="module")
def processes() -> Iterator[Mapping[str, Served]]:
    """An engine, a worker and its router, each with a model that is loaded. Side by side, as a start takes seconds."""
    with ExitStack() as ends, ThreadPoolExecutor() as starting:

        def start(command: str, *flags: str) -> Served:
            return ends.enter_context(sie_process(command, *flags, environment=ENVIRONMENT))

        worker = start("worker", "--preload", MODEL)
        found = {
            "engine": start("serve", "--preload", MODEL),
            "worker": worker,
            "router": start("router", "--worker", worker.address),
        }
        list(starting.map(load, [found[name].address for name in ("engine", "worker")]))
        load(found["router"].address)
        yield found
        for one in found.values():
            assert one.stop() == 0
            assert "unforeseen" not in "".join(one.output)


def load(address: str) -> None:
    body = {"items": [{"text": "x"}]}
    headers = {**TOKEN, "Prefer": "wait=60"}
    with httpx.Client(timeout=60, trust_env=False) as client:
        while (answer := client.post(f"{address}/v1/encode/{MODEL}", json=body, headers=headers)).status_code == 503:
            pass  # a router that has not met its worker yet
    assert answer.status_code == 200, answer.text


def described(*blueprints: str, coverage: bool = True) -> BaseSchema:
    """What a process of these says of itself, as requests are made from it.

    `coverage`: each rule of the document is kept and broken once, which makes some thousand requests.
    """
    found = document(("health", *blueprints), version="0")
    schema = schemathesis.openapi.from_dict(dict(found), config=schemathesis.Config(seed=SEED))
    # Headers for a worker are judged by a worker, and a 202 says that there is none yet.
    schema.config.checks.negative_data_rejection.expected_statuses = ["202", "4xx", "5xx"]
    schema.config.checks.not_a_server_error.expected_statuses = ["2xx", "4xx", "502", "503", "504"]
    schema.config.generation.allow_extra_parameters = False
    schema.config.phases.fuzzing.generation.max_examples = settings().max_examples // 8
    schema.config.phases.coverage.enabled = coverage
    return schema


CONFIG = described("configs", "watch", "inference").include(tag="config").exclude(path=ENDLESS)
ENGINE = described("configs", "watch", "inference", coverage=THOROUGH).exclude(tag="config")
ROUTER = described("configs", "watch", "proxy", coverage=THOROUGH).exclude(path=ENDLESS)
WORKER = described("inference", coverage=THOROUGH).exclude(path=["/", "/health"])


@CONFIG.parametrize()
def test_the_config_api_answers_as_it_says(case: schemathesis.Case[Any], processes: Mapping[str, Served]) -> None:
    ask(case, processes["engine"])


@ENGINE.parametrize()
def test_the_engine_answers_as_it_says(case: schemathesis.Case[Any], processes: Mapping[str, Served]) -> None:
    ask(case, processes["engine"])


@ROUTER.parametrize()
def test_a_router_answers_as_it_says(case: schemathesis.Case[Any], processes: Mapping[str, Served]) -> None:
    ask(case, processes["router"])


@WORKER.parametrize()
def test_a_worker_answers_as_it_says(case: schemathesis.Case[Any], processes: Mapping[str, Served]) -> None:
    ask(case, processes["worker"])


def ask(case: schemathesis.Case[Any], process: Served) -> None:
    print(f"FUZZ_SEED={SEED}")
    reach_further(case)
    case.call_and_validate(base_url=process.address, headers=TOKEN, checks=CHECKED)


def reach_further(case: schemathesis.Case[Any]) -> None:
    """What is made at random is never there, and hides what else is wrong with a request: name what is there."""
    meta = case.meta
    if meta is None:
        return
    if not meta.is_negative_at(ParameterLocation.PATH):
        for name, drawn in case.path_parameters.items():
            if name in ("model", "model_id") and (meta.generation.mode.is_negative or len(str(drawn)) % 2):
                case.path_parameters[name] = MODEL
    if not meta.is_negative_at(ParameterLocation.HEADER):
        there = {"X-SIE-MACHINE-PROFILE": MACHINE, "X-SIE-Timeout-Ms": "60000"}
        case.headers.update({name: value for name, value in there.items() if name in case.headers})
    body: Any = case.body
    if isinstance(body, dict) and not meta.is_negative_at(ParameterLocation.BODY):
        for profile in body.get("profiles", {}).values():
            if profile.get("adapter_path"):
                profile["adapter_path"] = DENSE
        for name in ("items", "input"):  # as many as are allowed would take minutes to encode
            if name in body:
                body[name] = body[name][:10]


@pytest.mark.parametrize("name", ["engine", "router"])
def test_every_example_is_taken(name: str, processes: Mapping[str, Served]) -> None:
    bodies = {"/v1/encode/{model}": "Encode", "/v1/score/{model}": "Score", "/v1/embeddings": "Embeddings"}
    whole = document(["configs", "inference"], version="0")
    shared = {path: whole["components"]["requestBodies"][body] for path, body in bodies.items()}
    own = {path: whole["paths"][path]["post"]["requestBody"] for path in ("/v1/configs/models", "/v1/configs/resolve")}
    with httpx.Client(base_url=processes[name].address, headers=TOKEN, trust_env=False) as client:
        for path, body in {**shared, **own}.items():
            answer = client.post(path.format(model=MODEL), json=body["content"]["application/json"]["example"])
            assert answer.is_success, answer.text
