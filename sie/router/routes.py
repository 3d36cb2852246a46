"""The Config API over HTTP: `/v1/configs/*`. What happens to a change stands in sie/flow.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson
import trio
from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from sie.catalog.document import write_document
from sie.catalog.model import Model
from sie.catalog.spec import parse_spec, route
from sie.errors import (
    BundleNotFound,
    MissingField,
    ParseError,
    ValidationError,
)
from sie.flow import answer_post
from sie.http.auth import Access
from sie.http.body import read_body
from sie.router.plane import ConfigPlane

REVISION = "X-SIE-Config-Revision"
_YAML = "application/x-yaml"
_LONGEST_KEY = 255


def config_blueprint(plane: ConfigPlane, access: Access) -> Blueprint:
    """The routes, over one plane. Reading needs either token, writing the admin token."""
    routes = Blueprint("configs", __name__, url_prefix="/v1/configs")

    @routes.before_request
    async def check_access() -> None:
        if request.method == "POST" and request.path.endswith("/models"):
            access.require_write(request.headers)
        else:
            access.require_read(request.headers)

    @routes.get("/models")
    async def list_models() -> Response:
        return _json({"models": [_listed(one) for one in plane.head.catalog.models()]})

    @routes.get("/models/<path:model_id>")
    async def show_model(model_id: str) -> Response:
        model = plane.model(model_id)
        # In a thread: the largest model that is taken makes 200 ms of YAML.
        return _yaml(await trio.to_thread.run_sync(write_document, model.document))

    @routes.post("/models")
    async def add_model() -> Response:
        dry_run = _flag("dry_run", request.args)
        commit, body = await answer_post(
            lambda: read_body(request, plane.settings.config_body_bytes),
            key=_idempotency_key(request.headers.get("Idempotency-Key")),
            dry_run=dry_run,
            writer=plane.writer,
            fleet=plane.fleet,
        )
        if not dry_run:
            plane.writer.note_answer(pending=body["worker_ack_pending"])
        response = _json(body, status=commit.status)
        response.headers[REVISION] = str(commit.revision)
        return response

    @routes.post("/resolve")
    async def resolve() -> Response:
        asked = _object(await read_body(request, plane.settings.config_body_bytes))
        model, bundle = asked.get("model"), asked.get("bundle")
        if not isinstance(model, str) or not (bundle is None or isinstance(bundle, str)):
            raise MissingField('send {"model": "org/model"}, and "bundle": "name" if one is wanted', field="model")
        catalog = plane.head.catalog
        with plane.head.looking_up():
            found = route(catalog, parse_spec(model), bundle)
        return _json(
            {
                "model": found.model.sie_id,
                "resolved_bundle": found.bundle,
                "compatible_bundles": list(found.compatible),
                "profiles": sorted(found.model.profiles),
            }
        )

    @routes.get("/bundles")
    async def list_bundles() -> Response:
        listed = [
            {
                "bundle_id": one.bundle_id,
                "priority": one.priority,
                "adapter_count": len(one.adapters),
                "source": one.source,
                "connected_workers": len(plane.fleet.in_bundle(one.bundle_id)),
            }
            for one in plane.head.catalog.bundles.values()
        ]
        return _json({"bundles": listed})

    @routes.get("/bundles/<bundle_id>")
    async def show_bundle(bundle_id: str) -> Response:
        bundle = plane.head.catalog.bundle(bundle_id)
        if bundle is None:
            raise BundleNotFound(f"no bundle {bundle_id[:200]!r}", bundle_id=bundle_id[:200])
        return _yaml(write_document(bundle.document))

    @routes.after_request
    async def say_revision(response: Response) -> Response:
        response.headers.setdefault(REVISION, str(plane.head.revision))
        return response

    return routes


def _listed(model: Model) -> Mapping[str, Any]:
    listed: dict[str, Any] = {"model_id": model.sie_id, "profiles": sorted(model.profiles), "source": model.source}
    if model.disputed:  # by the stores of routers that share none; the first of them is served
        listed["conflict"] = [{"path": path, "stores": list(stores)} for path, stores in model.disputed.items()]
    return listed


def _json(body: Mapping[str, Any], *, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status=status, content_type="application/json")


def _yaml(text: str) -> Response:
    return Response(text, content_type=_YAML)


def _flag(name: str, args: MultiDict[str, str]) -> bool:
    """`?dry_run` alone is yes: whoever writes it, in whatever case, does not mean to change anything."""
    known = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    found = {known.get(given.lower()) for key, given in args.items(multi=True) if key.lower() == name}
    if len(found) > 1 or None in found:
        raise ValidationError(f"{name} must be true or false", [{"path": name, "message": "must be true or false"}])
    return True in found


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise ParseError(f"the body is not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise ParseError("the body must be a JSON object")
    return cast("Mapping[str, Any]", value)


def _idempotency_key(given: str | None) -> str | None:
    if given is None:
        return None
    if not 1 <= len(given) <= _LONGEST_KEY or not given.isprintable():
        raise ValidationError(
            f"Idempotency-Key must be 1 to {_LONGEST_KEY} printable characters",
            [{"path": "Idempotency-Key", "message": f"must be 1 to {_LONGEST_KEY} printable characters"}],
        )
    return given
