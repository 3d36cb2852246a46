"""A site: an app behind a real socket on a free port, in the test's own nursery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from quart import Blueprint, request, websocket

from sie.http.app import http_app
from sie.http.auth import Access
from sie.http.body import read_body
from sie.http.server import serve_app
from sie.settings import Settings
from sie.testing.edge import ScriptedEdge
from sie.worker.routes import inference_blueprint


@dataclass
class Site:
    """`stopped` is set when serve_app has returned; `asked` and `go` are the two ends of `/held`'s work."""

    url: str
    edge: ScriptedEdge
    stop: trio.Event
    stopped: trio.Event
    asked: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)
    gone: trio.Event = field(default_factory=trio.Event)

    def client(self, **settings: object) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False, **settings)  # type: ignore[arg-type]

    async def connect(self) -> trio.SocketStream:
        address = urlsplit(self.url)
        return await trio.open_tcp_stream(address.hostname or "", address.port or 0)

    async def send(self, content: bytes, *, silence_s: float = 10) -> bytes:
        """Everything the server says to these bytes until it closes, or until it has been silent for so long."""
        stream = await self.connect()
        received = b""
        async with stream:
            try:
                await stream.send_all(content)
                while True:
                    with trio.move_on_after(silence_s) as waiting:
                        received += (piece := await stream.receive_some())
                    if waiting.cancelled_caught or not piece:
                        break
            except trio.BrokenResourceError:
                pass
        return received

    async def is_well(self) -> bool:
        async with self.client() as client:
            return (await client.get("/plain")).text == "well"


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture(params=["listener", pytest.param("hypercorn", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> str:
    """Which one the site is behind."""
    return str(request.param)


@pytest.fixture
def open_site(nursery: trio.Nursery, server: str) -> OpenSite:
    async def opened(
        *,
        edge: ScriptedEdge | None = None,
        auth_token: str | None = None,
        admin_token: str | None = None,
        **said: object,
    ) -> Site:
        said = {"server": server, "auth_token": auth_token, "admin_token": admin_token, **said}
        settings = replace(Settings(port=0), **said)  # type: ignore[arg-type]
        site = Site("", edge if edge is not None else ScriptedEdge(), trio.Event(), trio.Event())
        access = Access(auth_token=auth_token, admin_token=admin_token)
        app = http_app(settings, inference_blueprint(site.edge, settings, access), plain_blueprint(site))

        async def serve(task_status: trio.TaskStatus[str]) -> None:
            await serve_app(app, settings, stop=site.stop, task_status=task_status)
            site.stopped.set()

        site.url = await nursery.start(partial(serve))
        return site

    return opened


def plain_blueprint(site: Site) -> Blueprint:
    """Routes that do one thing each."""
    routes = Blueprint("plain", __name__)

    @routes.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    @routes.get("/plain")
    async def plain() -> str:
        return "well"

    @routes.get("/large")
    async def large() -> bytes:
        return b"x" * 12_000_000

    @routes.get("/held")
    async def held() -> str:
        site.asked.set()
        try:
            await site.go.wait()
        finally:
            site.gone.set()
        return "at last"

    @routes.post("/body")
    async def body() -> str:
        site.asked.set()
        try:
            return str(len(await read_body(request, 1_000_000)))
        finally:
            site.gone.set()

    @routes.get("/v1/configs/broken")
    @routes.get("/v1/encode/broken")
    async def broken() -> str:
        raise RuntimeError("hunter2")

    @routes.get("/grouped")
    async def grouped() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail)
        return "unreachable"

    return routes


async def _fail() -> None:
    raise KeyError("hunter2")
