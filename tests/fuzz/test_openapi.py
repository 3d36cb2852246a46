"""`/openapi.json` describes the routes that there are: of the three processes, every one, and no other."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
import trio
from quart import Blueprint
from quart_trio import QuartTrio

import sie
from sie import errors, service
from sie.http.app import http_app
from sie.http.openapi import document
from sie.router.service import serve_router
from sie.settings import Settings
from sie.wire.envelope import TABLE, config_answer, inference_answer, openai_answer
from sie.worker import service as worker_service
from tests.pages import MINIMAL

PIECES = Path(sie.__file__).parent / "http" / "described"
SERVING = {"engine": service.serve, "router": serve_router, "worker": worker_service.serve_worker}
AUTOMATIC = {"HEAD", "OPTIONS"}
WHOLE = document({one.stem for one in PIECES.iterdir()}, version="0")


@pytest.fixture(params=SERVING)
async def face(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> tuple[QuartTrio, str]:
    """A process's own app, as its service made it, and its address."""
    made: list[QuartTrio] = []

    def recorded(settings: Settings, *blueprints: Blueprint) -> QuartTrio:
        made.append(http_app(settings, *blueprints))
        return made[-1]

    monkeypatch.setattr(service, "http_app", recorded)
    monkeypatch.setattr(worker_service, "http_app", recorded)
    address: str = await nursery.start(partial(SERVING[request.param], Settings(port=0)))
    (app,) = made
    return app, address


async def served_by(address: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        answer = await client.get("/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


def routes_of(app: QuartTrio) -> set[tuple[str, str]]:
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if not rule.websocket
        for method in (rule.methods or set()) - AUTOMATIC
    }


def described_in(found: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(key.upper(), path) for path, item in found["paths"].items() for key in item if key != "parameters"}


async def test_every_route_is_described_and_nothing_else(face: tuple[QuartTrio, str]) -> None:
    app, address = face
    found = await served_by(address)
    assert described_in(found) == routes_of(app)
    sockets = [rule.rule for rule in app.url_map.iter_rules() if rule.websocket]
    assert sockets
    assert all(f"`{one}`" in found["info"]["description"] for one in sockets)
    schemathesis.openapi.from_dict(found).validate()


async def test_a_route_without_a_description_is_noticed(nursery: trio.Nursery) -> None:
    odd = Blueprint("odd", __name__)

    @odd.post("/odd/<path:thing>")
    async def odd_route(thing: str) -> str:
        return thing

    app = http_app(Settings(), odd)
    client = app.test_client()
    found = json.loads(await (await client.get("/openapi.json")).get_data())
    assert routes_of(app) - described_in(found) == {("POST", "/odd/{thing}")}


async def test_it_is_open_where_tokens_are_set(nursery: trio.Nursery) -> None:
    settings = Settings(port=0, auth_token="a", admin_token="b")
    address = await nursery.start(partial(service.serve, settings))
    assert await served_by(address)


def test_every_operation_has_its_name_and_asks_for_a_token_where_the_routes_do() -> None:
    names = []
    for path, item in WHOLE["paths"].items():
        for key, operation in item.items():
            if key == "parameters":
                continue
            names.append(operation["operationId"])
            assert ("401" in operation["responses"]) == bool(operation.get("security")), path
            assert ("403" in operation["responses"]) == (operation.get("security") == [{"admin": []}]), path
            if path.startswith("/v1/"):
                assert operation["security"] in ([{"admin": []}], [{"token": []}])
    assert len(set(names)) == len(names)


def validator(name: str) -> Any:
    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": {"schemas": WHOLE["components"]["schemas"]}}
    )


FACTS: dict[str, Any] = {
    "allow": ["GET"],
    "details": [{"path": "a", "message": "b"}],
    "limit_bytes": 5,
    "limit_s": 0.5,
    "retry_after_s": 2.5,
    "lag": 3,
    "revision": 7,
    "head": 9,
    "compatible_bundles": ["x"],
    "conflicting_fields": ["x"],
    "conflicting_profiles": ["x"],
    "configured_gpu_types": ["x"],
}


def facts() -> Mapping[str, set[str]]:
    """Which facts this code gives to which errors, by the calls that make them."""
    kinds = {one.__name__ for one in TABLE}
    found: dict[str, set[str]] = {kind: set() for kind in kinds}
    found["ValidationError"].add("details")
    for file in Path(sie.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in kinds:
                    found[name] |= {one.arg for one in node.keywords if one.arg is not None}
    return found


@pytest.mark.parametrize(("kind", "given"), sorted(facts().items()), ids=sorted(facts()))
def test_every_error_with_all_its_facts_is_as_described(kind: str, given: set[str]) -> None:
    error = getattr(errors, kind)("said", **{name: FACTS.get(name, "text") for name in given})
    for name, answer in (
        ("ConfigError", config_answer(error)),
        ("InferenceError", inference_answer(error)),
        ("OpenaiError", openai_answer(error)),
    ):
        validator(name).validate(json.loads(json.dumps(answer.body)))


@pytest.mark.parametrize("body", [{}, {"error": "x", "message": "y"}, {"error": "x", "message": "y", "detail": {}}])
def test_what_is_no_config_error_is_none(body: Any) -> None:
    assert not validator("ConfigError").is_valid(body)
    whole = {"error": "x", "message": "y", "detail": {"error": "x", "message": "y"}}
    assert validator("ConfigError").is_valid(whole)
    assert not validator("ConfigError").is_valid({**whole, "unknown": 1})


async def test_the_watch_is_as_described(nursery: trio.Nursery) -> None:
    """Its answer has no end of its own, so no generated request asks for it."""
    stop = trio.Event()
    address = await nursery.start(partial(service.serve, Settings(port=0), stop=stop))
    described = (await served_by(address))["paths"]["/v1/configs/watch"]["get"]["responses"]
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        for since, status in (("x", 400), ("other:1", 410), ("9" * 18, 410)):
            refused = await client.get("/v1/configs/watch", params={"since": since})
            assert refused.status_code == status
            validator("ConfigError").validate(refused.json())
            codes = described[str(status)]["content"]["application/json"]["schema"]["properties"]["error"]["enum"]
            assert refused.json()["error"] in codes
        async with client.stream("GET", "/v1/configs/watch") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            assert answer.headers["Cache-Control"] == described["200"]["headers"]["Cache-Control"]["schema"]["const"]
            assert (await client.post("/v1/configs/models", content=MINIMAL)).status_code == 201
            seen = []
            async for line in answer.aiter_lines():
                name, _, said = line.partition(": ")
                if name == "event":
                    seen.append({"entry": "WatchedEntry", "bookmark": "WatchedBookmark"}[said])
                elif name == "data":
                    validator(seen[-1]).validate(json.loads(said))
                    if len(set(seen)) == 2:
                        stop.set()
    assert set(seen) == {"WatchedEntry", "WatchedBookmark"}
