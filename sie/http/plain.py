# Rule: nothing here knows Quart's request; a route gets what was asked, and gives a reply.
"""Routes without a web framework: plain ASGI, dispatched before Quart, for requests that come by the thousand."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast

import trio
from quart import Blueprint

from sie.errors import SieError
from sie.http.body import read_whole
from sie.http.headers import RawHeaders
from sie.http.version import VERSION_HEADER, server_version
from sie.settings import Settings
from sie.wire.answers import write_json
from sie.wire.envelope import envelope_for

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

log = logging.getLogger("sie.http")

_CLOSING_S = 1.0  # a body lets go of what it holds; none has anything to wait for

# A server that says this in the scope cancels whoever handles a request when its client hangs up.
CANCELS = "cancels_on_disconnect"
# One that says this has the whole body: reading it waits for nothing.
HAS_BODY = "body_received"


class ClosingBody(Protocol):
    """An answer's body that holds something: closed once it was sent, and also if it never was."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its pieces, in order."""

    async def aclose(self) -> None:
        """Let go. Asked again, or cancelled, it changes nothing more."""


class HungUp(Exception):
    """The client went away while its request was read: there is nobody to answer."""


class Asked:
    """One request; iterated, the pieces of its body. `path` decoded, `query` not; `raw`: its headers as they came,
    names in lower case; `length` as declared, None if it was not; `taken`: the body has been read to its end."""

    __slots__ = ("_body_s", "_receive", "_taken", "headers", "length", "path", "query", "raw", "scope", "taken")

    def __init__(self, scope: HTTPScope, receive: ASGIReceiveCallable, *, body_s: float) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.raw: Sequence[tuple[bytes, bytes]] = cast("Sequence[tuple[bytes, bytes]]", scope["headers"])
        self.headers = RawHeaders(self.raw)
        said: bytes | None = None
        announced = scope["http_version"] == "2"  # HTTP/1 says that there is a body; HTTP/2 need not
        for name, value in self.raw:
            if name == b"content-length" and said is None:
                said = value
                announced = True
            elif name == b"transfer-encoding":
                announced = True
        self.length = int(said) if said is not None and said.isdigit() else None
        self.taken = self.length == 0 or not announced
        self._body_s = body_s
        self._receive = receive
        self._taken: trio.Event | None = None

    @property
    def here(self) -> bool:
        """Whether the whole body has arrived, and reading it waits for nobody."""
        return self.taken or HAS_BODY in (self.scope.get("extensions") or {})

    async def read_body(self, limit: int) -> bytes:
        """All of it, at most `limit` bytes, within the time for it (`SIE_BODY_S`). As `read_whole`; raises HungUp."""
        within_s = math.inf if self.here else self._body_s
        return await read_whole(self, length=self.length, limit=limit, within_s=within_s)

    def __aiter__(self) -> Asked:
        return self

    async def __anext__(self) -> bytes:
        """What comes next of the body. Raises StopAsyncIteration after its end, and HungUp."""
        if self.taken:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] != "http.request":
            raise HungUp
        if not message.get("more_body", False):
            self.taken = True
            if self._taken is not None:
                self._taken.set()
        return message.get("body", b"")

    async def wait_hung_up(self) -> None:
        """Return when the client has gone. It is listened for once the body is taken."""
        if not self.taken:
            self._taken = trio.Event()
            await self._taken.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Reply(NamedTuple):
    """`content`: all of it, or what gives it piece by piece and is closed after. `headers`: beside those of all; `raw`:
    more of them, as they go out, names in lower case. A named tuple: one is made for each request."""

    content: bytes | ClosingBody
    status: int = 200
    headers: Iterable[tuple[str, str]] = ()
    content_type: str | None = "application/json"
    raw: Iterable[tuple[bytes, bytes]] = ()


Handler: TypeAlias = Callable[[Asked, str], Awaitable[Reply]]


class PlainBlueprint(Blueprint):
    """A blueprint some of whose POST routes are plain: `handlers`, by path, or by its beginning, which ends in `/`."""

    def __init__(self, name: str, import_name: str) -> None:
        super().__init__(name, import_name)
        self.handlers: dict[str, Handler] = {}

    def plain(self, rule: str) -> Callable[[Handler], Handler]:
        """Have POSTs to this rule answered by the handler, which is given the rest of the path.

        Quart knows the rule as well, for what it says of other methods.
        """

        def add(handler: Handler) -> Handler:
            path = rule.partition("<")[0]
            self.handlers[path] = handler
            self.add_url_rule(rule, path.strip("/").replace("/", "-"), _dispatched_before, methods=["POST"])
            return handler

        return add


async def _dispatched_before(**_: str) -> str:
    raise AssertionError("plain routes are dispatched before Quart")


class Plain:
    """Answers what its handlers are for."""

    def __init__(self, settings: Settings, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._depth = max((name.count("/") for name in handlers), default=0)
        self._body_s = settings.body_s
        self._version = (VERSION_HEADER.lower().encode(), server_version().encode())

    def find(self, scope: HTTPScope) -> tuple[Handler, str] | None:
        """Who answers it, and the rest of its path; None if nobody here does."""
        if scope["method"] != "POST":
            return None
        path = scope["path"]
        if (handler := self._handlers.get(path)) is not None and not path.endswith("/"):
            return handler, ""
        parts = path.split("/", self._depth)
        begin = "/".join(parts[:-1]) + "/"
        rest = parts[-1]
        handler = self._handlers.get(begin)
        return None if handler is None or not rest or rest.startswith("/") else (handler, rest)

    async def answer(
        self, handler: Handler, rest: str, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Have it answered. Cancelled when the client hangs up, and with it the handler.

        Raises what breaks off in the middle of an answer.
        """
        asked = Asked(scope, receive, body_s=self._body_s)
        if CANCELS in (scope.get("extensions") or {}):
            await self._exchange(handler, asked, rest, send)
            return
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await asked.wait_hung_up()
                nursery.cancel_scope.cancel(reason="the client has hung up")

            nursery.start_soon(end)
            await self._exchange(handler, asked, rest, send)
            nursery.cancel_scope.cancel(reason="answered")

    async def _exchange(self, handler: Handler, asked: Asked, rest: str, send: ASGISendCallable) -> None:
        try:
            reply = await handler(asked, rest)
        except HungUp:
            return
        except Exception as error:
            reply = refused(asked.path, error)
        content = reply.content
        try:
            await send(cast("object", self._head(asked, reply)))  # type: ignore[arg-type]
            if isinstance(content, bytes):
                await send({"type": "http.response.body", "body": content, "more_body": False})
                return
            async for piece in content:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await content.aclose()  # before its end is told: who has all of it may ask for what it held
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if not isinstance(content, bytes):
                with trio.move_on_after(_CLOSING_S, shield=True):
                    await content.aclose()

    def _head(self, asked: Asked, reply: Reply) -> Mapping[str, object]:
        headers = [*reply.raw]
        headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode()))
        if isinstance(reply.content, bytes):
            headers.append((b"content-length", b"%d" % len(reply.content)))
        headers.append(self._version)
        if not asked.taken and asked.scope["http_version"] in ("1.0", "1.1"):
            # The server closes it, the rest of the body being in the way; a client that is not told uses it again.
            headers.append((b"connection", b"close"))
        return {"type": "http.response.start", "status": reply.status, "headers": headers}


def refused(path: str, error: Exception) -> Reply:
    """An error as the clients of that path read it; one that nobody foresaw is logged."""
    answer = envelope_for(path)(error)
    if not isinstance(error, SieError):
        log.error("POST %s ended in an unforeseen error", path, exc_info=error)
    return Reply(write_json(answer.body), answer.status, list(dict(answer.headers).items()))
