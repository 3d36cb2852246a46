# Rule: an error's status and code are never written down twice: pieces name error classes, the one table says the rest.
"""`GET /openapi.json`: the routes of the process that is asked, as an OpenAPI 3.1 document.

It is put together from the pieces in sie/http/described: `common` and `texts` for all, one for each blueprint, named
like it, and `documents` beside the Config API's. In an operation, `errors` lists classes of sie/errors.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import trio
import yaml
from quart import Blueprint, Response, current_app

from sie import errors
from sie.wire.answers import write_json
from sie.wire.envelope import TABLE, UNFORESEEN, config_answer, envelope_for, inference_answer

_PIECES = resources.files("sie.http") / "described"
_METHODS = frozenset({"get", "post"})
_PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")
_SAID = {"X-SIE-Server-Version": {"required": True, "schema": {"type": "string"}}}


def openapi_blueprint(version: str) -> Blueprint:
    """The route. Open to everybody: it tells nothing of this deployment but its version."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    async def describe() -> Response:
        paths = frozenset(_PLACEHOLDER.sub(r"{\1}", one.rule) for one in current_app.url_map.iter_rules())
        # In a thread: reading the pieces takes some 50 ms, once.
        content = await trio.to_thread.run_sync(_written, frozenset(current_app.blueprints), paths, version)
        return Response(content, content_type="application/json")

    return routes


@cache
def _written(blueprints: frozenset[str], paths: frozenset[str], version: str) -> bytes:
    whole = document(blueprints, version=version)
    # A piece of several processes describes what each of them has.
    return write_json({**whole, "paths": {path: one for path, one in whole["paths"].items() if path in paths}})


def document(blueprints: Iterable[str], *, version: str) -> Mapping[str, Any]:
    """All that the pieces of these blueprints say. Reads files. A blueprint that has no piece is left out."""
    whole = _piece("common") or {}
    whole["info"]["version"] = version
    names = ["texts", *sorted(blueprints)]
    if "configs" in names:
        names.append("documents")
    for name in names:
        piece = _piece(name) or {}
        whole["paths"].update(piece.get("paths", {}))
        for kind, parts in piece.get("components", {}).items():
            whole["components"].setdefault(kind, {}).update(parts)
    whole["paths"] = {path: _written_out(path, one) for path, one in sorted(whole["paths"].items())}
    return whole


def _piece(name: str) -> dict[str, Any] | None:
    file = _PIECES / f"{name}.yaml"
    if not file.is_file():
        return None
    # An alias gives the same value again: none is ever changed in place.
    piece: dict[str, Any] = yaml.load(file.read_text("utf-8"), Loader=yaml.CSafeLoader)
    return piece


def _written_out(path: str, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A path whose operations have their errors as responses, and on every response what all of them carry."""
    whole = dict(item)
    for method in _METHODS & item.keys():
        said = {key: one for key, one in item[method].items() if key != "errors"}
        whole[method] = {**said, "responses": _responses(path, item[method])}
    return whole


def _responses(path: str, operation: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [name for line in operation.get("errors", ()) for name in line]
    if "security" in operation:
        names.insert(0, "Unauthorized")
    by_status: dict[int, dict[str, str]] = {UNFORESEEN.status: {UNFORESEEN.code: "A fault of this system."}}
    for name in names:
        kind = getattr(errors, name)
        row = TABLE[kind]
        said = inspect.cleandoc(kind.__doc__ or name).splitlines()[0]
        by_status.setdefault(row.status, {}).setdefault(row.code, said)
    found = {str(status): _refusal(path, status, codes) for status, codes in by_status.items()}
    own = {
        status: one if "$ref" in one else {**one, "headers": {**one.get("headers", {}), **_SAID}}
        for status, one in operation["responses"].items()
    }
    return dict(sorted({**found, **own}.items()))


def _refusal(path: str, status: int, codes: Mapping[str, str]) -> Mapping[str, Any]:
    """One status: which codes it comes with, in the envelope of the path."""
    envelope = envelope_for(path)
    capital = envelope is inference_answer
    known = {code.upper() if capital else code: said for code, said in codes.items()}
    enum: dict[str, Any] = {"enum": list(known)}
    if envelope is config_answer:
        name, narrow = "ConfigError", {"error": enum}
    elif capital:
        name, narrow = "InferenceError", {"detail": {"properties": {"code": enum}}}
    else:
        name, narrow = "OpenaiError", {"error": {"properties": {"code": enum}}}
    headers: dict[str, Any] = {"X-SIE-Error-Code": {"required": True, "schema": enum}, **_SAID}
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"const": "Bearer"}}
    if status in (502, 503):
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    return {
        "description": " ".join(f"`{code}`: {said}" for code, said in known.items()),
        "headers": headers,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{name}", "properties": narrow}},
        },
    }
