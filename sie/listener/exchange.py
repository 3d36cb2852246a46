"""One request and its answer: what an ASGI app receives and sends."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import trio

from sie.listener.asgi import Message
from sie.listener.faults import log_fault
from sie.listener.head import Head, write_head
from sie.listener.parser import Fault

if TYPE_CHECKING:
    from sie.listener.asgi import Scope
    from sie.listener.connection import Connection
    from sie.listener.parser import Request

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASGI = {"version": "3.0", "spec_version": "2.3"}
# An app need not wait for the end of its client, see sie.listener.server.serve, nor for a body that is here already.
_EXTENSIONS: dict[str, dict[str, object]] = {"cancels_on_disconnect": {}}
_WITH_BODY: dict[str, dict[str, object]] = {**_EXTENSIONS, "body_received": {}}


class Exchange:
    """Made for each request. It is cheap: no task, scope, channel or event of its own."""

    __slots__ = ("_connection", "_given", "_head", "_left", "_patience_s", "_request", "_start", "ended")

    hears_of_the_end = False
    """Whether the app is left to find out by itself that its client has gone."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._start: Message | None = None
        self._head: Head | None = None
        self._left: int | None = None  # of a body whose length was said
        self.ended = False
        self._given = False  # the app has the whole body
        self._patience_s = connection.limits.body_stall_s

    async def run(self) -> bool:
        """Whether the connection may carry another request."""
        connection, request = self._connection, self._request
        error: Exception | None = None
        try:
            await connection.app(scope_of(connection, request, "http"), self.receive, self.send)
        except Exception as raised:
            error = raised
        # An app may fail for want of its client, or of the rest of a body.
        well = not connection.gone and (request.complete or connection.parser.fault is None)
        if well and error is not None:
            log_fault(log, f"{request.method} {request.path[:200]!r} ended in an error", error)
        elif well and self._head is None:
            log.error("%s %r was not answered", request.method, request.path[:200])
        if self._head is None:
            fault = (None if request.complete else connection.parser.fault) or Fault(500, "Internal Server Error")
            await connection.write(connection.plain(fault, method=request.method))
            return False
        if not self.ended:
            connection.cut("an answer was left unfinished")
            await trio.lowlevel.checkpoint()
        return request.complete and not self._head.closes and not connection.finishing

    async def receive(self) -> Message:
        """More of the body; when all of it is given, waits for the end. Cancelled: nothing is lost."""
        connection, request = self._connection, self._request
        while not self._given and not self.ended and not connection.gone:
            if request.pieces or request.complete:
                body = b"".join(request.pieces)
                request.pieces.clear()
                self._given = request.complete
                return {"type": "http.request", "body": body, "more_body": not request.complete}
            if connection.parser.fault is not None:
                connection.leave()
                await trio.lowlevel.checkpoint()
                return {"type": "http.disconnect"}
            if request.expects and self._head is None:
                request.expects = False
                await connection.write(_CONTINUE)
            await self._receive_more()
        if self.ended or connection.gone:
            await trio.lowlevel.checkpoint()  # an app that asks again and again would keep all others waiting
        while not self.ended and not connection.gone:
            await connection.park(for_bytes=False)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Raises ValueError or RuntimeError for what can be no answer. To a client that has gone, nothing is sent."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("the answer was begun before")
            self._start = message
            return
        if kind != "http.response.body":
            raise RuntimeError(f"{kind!r} is no part of an answer")
        connection, more = self._connection, message.get("more_body", False)
        content = self._content_of(message.get("body", b""), more)
        if content:
            sent = connection.begin_write(content)
            if sent < len(content):
                await connection.finish_write(content, sent)
        if more:
            await trio.lowlevel.checkpoint()  # a client that reads fast would keep all others waiting
        else:
            self.ended = True
            connection.wake()

    @property
    def ends_with_connection(self) -> bool:
        """Whether an answer is under way whose end is the connection's."""
        head = self._head
        return head is not None and not (self.ended or head.bodiless or head.chunked or head.length is not None)

    def peek(self) -> None:
        """Bytes have come, and wait until they are asked for."""

    def finish(self) -> None:
        """The answer will say that it is the last."""

    def _content_of(self, body: bytes, more: bool) -> bytes:
        """What goes to the client for this piece of the body: before the first one, the head."""
        if self._start is None or self.ended:
            raise RuntimeError("a body without a beginning, or after its end")
        content = b""
        head = self._head
        if head is None:
            head = self._begin(self._start, None if more else len(body))
            content = head.content
        if head.bodiless:
            return content
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body has not the length that was said")
        if head.chunked:
            if body:
                content += b"%x\r\n%b\r\n" % (len(body), body)
            return content if more else content + b"0\r\n\r\n"
        return content + body if content else body

    def _begin(self, start: Message, whole: int | None) -> Head:
        connection, request = self._connection, self._request
        self._head = head = write_head(
            start["status"],
            start.get("headers", ()),
            method=request.method,
            version=request.version,
            # With a body that was not read, what comes next cannot be found.
            keep_alive=request.keep_alive and request.complete and not connection.finishing,
            whole=whole,
            now=int(time.time()),
            server=connection.server,
        )
        self._left = head.length
        return head

    async def _receive_more(self) -> None:
        """Waiting costs patience, and each byte earns some: see `Limits.body_stall_s`."""
        limits, request = self._connection.limits, self._request
        took_s = await self._connection.more_of_body(self._patience_s)
        earned_s = sum(map(len, request.pieces)) / limits.body_bytes_per_s
        self._patience_s = min(limits.body_stall_s, max(0.0, self._patience_s - took_s) + earned_s)


def scope_of(connection: Connection, request: Request, kind: str) -> Scope:
    """What an app is told of a request, of kind `http` or `websocket`."""
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": _ASGI,
        "http_version": request.version,
        "scheme": "http" if kind == "http" else "ws",
        "path": request.path,
        "raw_path": request.raw_path,
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": connection.client,
        "server": connection.address,
        "extensions": dict(_WITH_BODY if request.complete else _EXTENSIONS),
    }
    if kind == "http":
        scope["method"] = request.method
    return scope
