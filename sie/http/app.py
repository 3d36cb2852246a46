"""The Quart app whose blueprints are the system's HTTP routes: errors as documented, never HTML, always our version."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from quart import Blueprint, Response, request
from quart_trio import QuartTrio
from werkzeug import exceptions

from sie import errors
from sie.settings import Settings
from sie.wire.answers import write_json
from sie.wire.envelope import envelope_for

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

log = logging.getLogger("sie.http")

VERSION_HEADER = "X-SIE-Server-Version"


def server_version() -> str:
    try:
        return version("sie")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


class App(QuartTrio):
    """Quart, which for a target like `?x` or `*` would look for a path's first character in vain."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan" and "://" not in scope["path"] and not scope["path"].startswith("/"):
            scope["path"] = "/" + scope["path"]
        await super().__call__(scope, receive, send)


def http_app(settings: Settings, *blueprints: Blueprint) -> QuartTrio:
    """An app of these routes. Errors raised in them are answered in the envelope that the path's clients read."""
    app = App("sie", static_folder=None)
    # `default:/BAAI/bge-m3` is a model's name, and `//` in a path is for its route to judge, not to redirect.
    app.url_map.merge_slashes = False
    # Bodies are counted where they are read. This holds for routes that read none, where Quart would keep collecting.
    app.config["MAX_CONTENT_LENGTH"] = max(settings.request_body_bytes, settings.config_body_bytes)
    app.config["BODY_TIMEOUT"] = settings.body_s
    app.config["RESPONSE_TIMEOUT"] = None  # the connection has a better one: no progress

    app.register_error_handler(errors.SieError, _answer)
    app.register_error_handler(exceptions.HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unforeseen)
    app.after_request(_versioned(server_version()))
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def _versioned(ours: str) -> Callable[[Response], Awaitable[Response]]:
    async def add_version(response: Response) -> Response:
        response.headers[VERSION_HEADER] = ours
        return response

    return add_version


async def _answer(error: Exception) -> Response:
    answer = envelope_for(request.path)(error)
    return Response(
        write_json(answer.body), answer.status, headers=dict(answer.headers), content_type="application/json"
    )


async def _answer_http(error: exceptions.HTTPException) -> Response:
    return await _answer(_translated(error))


async def _answer_unforeseen(error: Exception) -> Response:
    log.error("%s %s ended in an unforeseen error", request.method, request.path, exc_info=error)
    return await _answer(error)


def _translated(error: exceptions.HTTPException) -> Exception:
    """Quart's and werkzeug's own refusals, as ours."""
    match error:
        case exceptions.NotFound():
            return errors.RouteNotFound(f"No such path: {request.path[:200]}")
        case exceptions.MethodNotAllowed():
            allow = sorted(error.valid_methods or ())
            return errors.MethodNotAllowed(f"{request.method} is not allowed here", allow=allow)
        case exceptions.RequestEntityTooLarge():
            return errors.PayloadTooLarge("The body is too large")
        case exceptions.RequestTimeout():
            return errors.RequestTooSlow("The request did not arrive in time")
    if error.code is not None and error.code < 500:
        return errors.ParseError(error.description or "The request cannot be understood")
    return error
