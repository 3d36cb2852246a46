"""A site: a small ASGI app behind the listener on a real socket, in the test's own nursery."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from sie.listener.asgi import ASGIApp, Message, Receive, Scope, Send
from sie.listener.limits import Limits
from sie.listener.server import serve
from sie.listener.watch import EdgeWatch, PeekWatch, Watch

LARGE = 12_000_000
SOON_S = 3.0  # far more than anything here takes


@dataclass
class Site:
    """`stopped` is set when serve has returned; `asked`, `go` and `gone` are the ends of `/held`."""

    port: int
    stop: trio.Event
    stopped: trio.Event
    asked: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)
    gone: trio.Event = field(default_factory=trio.Event)
    heard: list[Any] = field(default_factory=list)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def send(self, *pieces: bytes, silence_s: float = 5) -> bytes:
        """Everything the server says to these bytes until it closes, or until it has been silent for so long."""
        said = b""
        async with await self.connect() as stream:
            try:
                for piece in pieces:
                    await stream.send_all(piece)
                    await trio.lowlevel.checkpoint()
                while True:
                    with trio.move_on_after(silence_s) as waiting:
                        said += (piece := await stream.receive_some())
                    if waiting.cancelled_caught or not piece:
                        break
            except trio.BrokenResourceError:
                pass
        return said

    async def is_well(self) -> bool:
        said = await self.send(get("/plain", "Connection: close"))
        return said.startswith(b"HTTP/1.1 200 ") and said.endswith(b"\r\n\r\nwell")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await getattr(self, "on" + scope["path"].replace("/", "_"), self.on_nothing)(scope, receive, send)

    async def on_nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no such thing", status=404)

    async def on_plain(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"well")

    async def on_scope(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.heard.append(scope)
        await answer(send, b"")

    async def on_echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, await body_of(receive))

    async def on_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * LARGE)

    async def on_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one ", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def on_held(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Waits for something that is not its client."""
        await body_of(receive)
        self.asked.set()
        try:
            await self.go.wait()
        finally:
            self.gone.set()
        await answer(send, b"at last")

    async def on_waits(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Waits for its client, as frameworks do."""
        await body_of(receive)
        self.asked.set()
        self.heard.append(await receive())
        self.gone.set()

    async def on_broken(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("hunter2")])])

    async def on_broken_late(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise KeyError("hunter2")

    async def on_silent(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture
def open_site(nursery: trio.Nursery) -> OpenSite:
    async def opened(app: ASGIApp | None = None, *, watch: Watch | None = None, **limits: Any) -> Site:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        site = Site(listeners[0].socket.getsockname()[1], trio.Event(), trio.Event())

        async def run(task_status: trio.TaskStatus[None]) -> None:
            await serve(
                app if app is not None else site.app,
                listeners,
                stop=site.stop,
                limits=Limits(**{"sweep_s": 0.02, "linger_s": 0.2, **limits}),
                server="test",
                watch=watch,
                task_status=task_status,
            )
            site.stopped.set()

        await nursery.start(run)
        return site

    return opened


@pytest.fixture(params=[EdgeWatch, PeekWatch])
def watch(request: pytest.FixtureRequest) -> Watch:
    """Each way of knowing who has gone."""
    made: Watch = request.param()
    return made


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answer(
    send: Send, body: bytes, *, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers or []})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive: Receive) -> bytes:
    """Raises EOFError if it is not whole."""
    whole = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise EOFError
        whole += bytes(message["body"])
        if not message["more_body"]:
            return whole


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """As many tasks and descriptors after as before."""
    before = _count()
    yield
    with trio.move_on_after(SOON_S):
        while _count() != before:
            await trio.sleep(0.02)
    assert _count() == before


def _count() -> tuple[int, int]:
    return trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))
