"""The Quart app whose blueprints are the system's HTTP routes: errors as documented, never HTML, always our version."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import h11
from quart import Blueprint, Response, has_request_context, request, websocket
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from werkzeug import exceptions

from sie import errors
from sie.http.body import has_unread_body
from sie.http.openapi import openapi_blueprint
from sie.http.plain import Plain, PlainBlueprint
from sie.http.version import VERSION_HEADER, server_version
from sie.settings import Settings
from sie.wire.answers import write_json
from sie.wire.envelope import envelope_for

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

log = logging.getLogger("sie.http")


class App(QuartTrio):
    """Quart behind the plain routes, with a few things put right that any client can do to it."""

    plain: Plain

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan" and "://" not in scope["path"] and not scope["path"].startswith("/"):
            scope["path"] = "/" + scope["path"]  # a target like `?x` or `*`: its first character is looked for
        try:
            if scope["type"] == "http" and (found := self.plain.find(scope)) is not None:
                await self.plain.answer(*found, scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        except* h11.LocalProtocolError as lost:
            # A stray byte broke the connection while its request was answered. hypercorn would log all its stacks.
            log.warning("an answer could not be sent: %r", lost.exceptions)
        except* errors.WorkerUnreachable:
            pass  # in the middle of an answer, which hypercorn now breaks off; whoever raised it has logged it


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
    for blueprint in (*blueprints, openapi_blueprint(server_version())):
        app.register_blueprint(blueprint)
    routes = (one.handlers for one in blueprints if isinstance(one, PlainBlueprint))
    app.plain = Plain(settings, {path: handler for some in routes for path, handler in some.items()})
    return app


def _versioned(ours: str) -> Callable[[Response], Awaitable[Response]]:
    async def add_version(response: Response) -> Response:
        response.headers[VERSION_HEADER] = ours
        if has_unread_body(request) and request.http_version in ("1.0", "1.1"):
            # The server closes it, the rest of the body being in the way; a client that is not told uses it again.
            response.headers["Connection"] = "close"
        return response

    return add_version


async def _answer(error: Exception) -> Response:
    answer = envelope_for(_asked().path)(error)
    return Response(
        write_json(answer.body), answer.status, headers=dict(answer.headers), content_type="application/json"
    )


async def _answer_http(error: exceptions.HTTPException) -> Response:
    return await _answer(_translated(error))


async def _answer_unforeseen(error: Exception) -> Response:
    asked = _asked()
    log.error("%s %s ended in an unforeseen error", asked.method, asked.path, exc_info=error)
    return await _answer(error)


def _asked() -> BaseRequestWebsocket:
    """What is being answered: a request, or a WebSocket's handshake."""
    return request if has_request_context() else websocket


def _translated(error: exceptions.HTTPException) -> Exception:
    """Quart's and werkzeug's own refusals, as ours."""
    match error:
        case exceptions.NotFound():
            return errors.RouteNotFound(f"No such path: {_asked().path[:200]}")
        case exceptions.MethodNotAllowed():
            allow = sorted(error.valid_methods or ())
            return errors.MethodNotAllowed(f"{_asked().method} is not allowed here", allow=allow)
        case exceptions.RequestEntityTooLarge():
            return errors.PayloadTooLarge("The body is too large")
        case exceptions.RequestTimeout():
            return errors.RequestTooSlow("The request did not arrive in time")
    if error.code is not None and error.code < 500:
        return errors.ParseError(error.description or "The request cannot be understood")
    return error
