"""What is opened and served: cancelled anywhere on its way up, at work or down, it leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import trio
import trio.testing
from quart import Request
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from sie.engine import Engine, open_engine
from sie.http.body import has_unread_body, read_body
from sie.router.forward import open_forwarder
from sie.router.links import Links
from sie.router.router import open_router
from sie.router.service import serve_router
from sie.router.upload import Upload
from sie.service import serve
from sie.services import open_services
from sie.settings import Settings
from sie.store.open import open_store
from sie.testing.device import FakeDevice
from sie.testing.steps import Round, Trial, Whose
from sie.wire.status import WorkerStatus
from sie.worker.compute import Compute
from sie.worker.process import open_worker
from sie.worker.service import serve_worker
from tests.pages import FIRST, PAGE_ID
from tests.router.test_links import Told, serve_bytes, status
from tests.steps.table import Place, case
from tests.worker.made import MINILM

ONE = Settings(bundles=("default",), port=0, grace_s=1.0, catchup_s=0.01, unload_wait_s=1.0)


# -- the engine, in this process


def with_fake_devices(place: Place) -> list[FakeDevice]:
    """Every engine and worker gets one; they are listed."""
    devices: list[FakeDevice] = []

    def compute(settings: Settings, *, device: object = None) -> Compute:
        devices.append(FakeDevice())
        return Compute(settings, device=devices[-1])

    place.monkeypatch.setattr("sie.engine.Compute", compute)
    place.monkeypatch.setattr("sie.worker.process.Compute", compute)
    return devices


def _of_engine(names: str, act: Callable[[Engine], Awaitable[object]]) -> None:
    @case(*names.split(), label=names.split()[0])
    @asynccontextmanager
    async def of_engine(place: Place) -> AsyncIterator[Trial]:
        with_fake_devices(place)
        async with open_engine(ONE) as engine:

            async def check(done: Round) -> None:
                """What has not reached the device never does, and the same again is answered."""
                assert engine.compute.statistics().queue_depth == 0
                await act(engine)
                assert engine.compute.statistics().queue_depth == 0

            yield Trial(act=lambda: act(engine), check=check)


_of_engine(
    "sie.engine:Engine.encode sie.worker.dispatch:Dispatch.encode", lambda engine: engine.encode(MINILM, ["a", "b c"])
)
_of_engine(
    "sie.engine:Engine.score sie.worker.dispatch:Dispatch.score", lambda engine: engine.score(MINILM, "a", ["b", "c"])
)
_of_engine("sie.worker.dispatch:Dispatch.decode", lambda engine: engine.dispatch.decode(MINILM, [], wait_s=60))
_of_engine(
    "sie.worker.dispatch:Dispatch.preload_all sie.worker.dispatch:Dispatch.preload",
    lambda engine: engine.dispatch.preload_all([MINILM, "no/such"]),
)


@case("sie.engine:Engine.add_model", label="Engine.add_model")
@asynccontextmanager
async def adding_a_model(place: Place) -> AsyncIterator[Trial]:
    with_fake_devices(place)
    async with open_engine(ONE) as engine:
        before = engine.head.revision

        async def check(done: Round) -> None:
            """Made or not; a retry is safe, and then it is there once, and serves."""
            await trio.testing.wait_all_tasks_blocked()
            made = engine.head.catalog.find(PAGE_ID) is not None
            assert made or not done.finished
            answer = await engine.add_model(FIRST)
            assert answer["existing_profiles_skipped" if made else "created_profiles"] == ["default"]
            assert engine.head.revision == before + 1
            assert not answer["worker_ack_pending"]
            await engine.encode(PAGE_ID, "text")

        yield Trial(act=lambda: engine.add_model(FIRST), check=check)


# -- opened, and left


def _opening(name: str, opened: Callable[[Settings], AbstractAsyncContextManager[Any]], *also: str) -> None:
    @case(name, *also, clock="real", label=name)
    @asynccontextmanager
    async def opening(place: Place) -> AsyncIterator[Trial]:
        devices = with_fake_devices(place)
        settings = replace(ONE, store_dir=str(place.folder()), restore=True)

        async def act() -> None:
            async with opened(settings):
                await trio.lowlevel.checkpoint()

        async def check(done: Round) -> None:
            """Whoever opens it next finds a sound store; nothing is held any more."""
            assert all(one.closed for one in devices if one.loads)
            async with opened(settings):
                pass
            store = await open_store(settings)
            assert list(await store.entries_since(0)) == []

        yield Trial(act=act, check=check)


_opening("sie.engine:open_engine", open_engine, "sie.services:open_services", "sie.router.plane:open_plane")
_opening("sie.router.router:open_router", open_router, "sie.router.forward:open_forwarder")
_opening("sie.worker.process:open_worker", open_worker)


# -- behind HTTP


async def _get(address: str) -> bytes:
    """The whole answer of one request."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join([piece async for piece in stream])


_BEHIND = {
    "listener": (
        "sie.listener.server:serve",
        *(f"sie.listener.connection:Connection.{one}" for one in ("run", "park")),
        *(f"sie.listener.exchange:Exchange.{one}" for one in ("run", "send")),
    ),
    "hypercorn": ("sie.http.multiprotocol:Connections.serve", "sie.http.connection:Connection.run"),
}


def _serving(
    name: str,
    served: Callable[..., Awaitable[None]],
    *also: str,
    whose: Whose = "own",
    server: str = "listener",
) -> None:
    @case(
        *(name, *also, "sie.http.server:serve_app", *_BEHIND[server], "sie.http.app:App.__call__"),
        clock="real",
        whose=whose,
        slow=whose == "all",
        label=f"{name}, {whose} steps, {server}",
    )
    @asynccontextmanager
    async def serving(place: Place) -> AsyncIterator[Trial]:
        with_fake_devices(place)
        addresses: list[str] = []
        stop = trio.Event()

        async def act() -> None:
            async with trio.open_nursery() as nursery:
                addresses.append(await nursery.start(partial(served, replace(ONE, server=server), stop=stop)))
                assert (await _get(addresses[0])).startswith(b"HTTP/1.1 200")
                stop.set()

        async def check(done: Round) -> None:
            """Nothing listens any more."""
            for address in addresses:
                host, _, port = address.removeprefix("http://").rpartition(":")
                try:
                    stream = await trio.open_tcp_stream(host, int(port))
                except OSError:
                    continue
                await stream.aclose()
                raise AssertionError(f"{address} is still served")

        yield Trial(act=act, check=check)


_serving("sie.service:serve", serve, "sie.service:serve_plane")
_serving("sie.service:serve", serve, server="hypercorn")
_serving("sie.router.service:serve_router", serve_router)
_serving(
    *("sie.worker.service:serve_worker", serve_worker, "sie.worker.service:serve_process"),
    *("sie.worker.service:Counted.__call__", "sie.worker.service:Counted.wait_none"),
)


for _name, _served in (("sie.service:serve", serve), ("sie.worker.service:serve_worker", serve_worker)):
    _serving(_name, _served, whose="all")


@dataclass
class Asked:
    """As much of a request as reading its body takes."""

    pieces: int
    content_length: int | None = None
    body_timeout: float = 60.0
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Length": "3"})
    scope: dict[str, object] = field(default_factory=dict)

    @property
    async def body(self) -> AsyncIterator[bytes]:
        for _ in range(self.pieces):
            await trio.lowlevel.checkpoint()
            yield b"x"


@case("sie.http.body:read_body", "sie.http.body:read_whole")
@asynccontextmanager
async def reading_a_body(place: Place) -> AsyncIterator[Trial]:
    asked = cast("Request", Asked(3))

    async def check(done: Round) -> None:
        """One that was not read to its end is known as such, for its connection can carry no other."""
        assert has_unread_body(asked) is not done.finished
        assert not done.finished or done.value == b"xxx"

    yield Trial(act=lambda: read_body(asked, 10), check=check)


# -- what a router does towards its workers


ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n"


@case(
    "sie.router.forward:Forwarder.ask",
    *(f"sie.router.forward:Answer.{name}" for name in ("__anext__", "look", "aclose")),
    *(f"sie.router.upload:Upload.{name}" for name in ("content", "next_piece")),
    "sie.caller.caller:Caller.ask",
    "sie.caller.answer:Answer.__anext__",
    *(f"sie.caller.connection:Connection.{name}" for name in ("begin", "more")),
    "sie.caller.wire:open_wire",
    "sie.caller.wire:PlainWire.receive",
    whose="own",
    clock="real",
)
@asynccontextmanager
async def forwarding(place: Place) -> AsyncIterator[Trial]:
    hung_up: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            if not (piece := await stream.receive_some()):
                break
            received += piece
        else:
            await stream.send_all(ANSWER + b"abc")
            with trio.move_on_after(1):  # whoever asks may have gone
                await begun.wait()
            await stream.send_all(b"def")
            await stream.receive_some()
        hung_up.append(received)
        await stream.aclose()

    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(2):
            await trio.lowlevel.checkpoint()
            yield b"piece"

    begun = trio.Event()

    async with trio.open_nursery() as workers:
        url = await serve_bytes(workers, answer)
        worker = WorkerStatus(name="w", bundle="default", ready=True, url=url)

        async with open_forwarder(ONE) as forwarder:

            async def act() -> bytes:
                nonlocal begun
                begun = trio.Event()
                pieces = body()
                upload = Upload(pieces, length=None, size_most=100, kept_most=100)
                try:
                    asked = forwarder.ask(worker, "/", query=b"", headers=(), said={}, upload=upload)
                    answered = await asked
                    begun.set()  # so that the rest is waited for
                    try:
                        await answered.look(1)
                        return b"".join([piece async for piece in answered])
                    finally:
                        await answered.aclose()
                finally:
                    with trio.CancelScope(shield=True):
                        await pieces.aclose()

            async def check(done: Round) -> None:
                """It hangs up; nothing is counted as under way any more."""
                assert forwarder.in_flight == {}
                assert await act() == b"abcdef"

            yield Trial(act=act, check=check)
        workers.cancel_scope.cancel(reason="the round is over")


@case(
    "sie.router.links:Links.run",
    *(f"sie.router.handshake:HandshakeStream.{name}" for name in ("receive_some", "send_all", "aclose")),
    whose="own",
    clock="real",
)
@asynccontextmanager
async def linking(place: Place) -> AsyncIterator[Trial]:
    said = status("w")

    async def accept(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            await connection.send_message(said)
            await trio.sleep_forever()
        except ConnectionClosed:
            pass

    async with open_services("the round is over") as workers:
        server = await workers.start(partial(serve_websocket, accept, "127.0.0.1", 0, None))
        url = f"http://127.0.0.1:{server.port}"
        told = Told()

        async def act() -> None:
            links = Links(told.heard, told.left, replace(ONE, workers=(url,)))
            async with open_services("heard") as services:
                await services.start(links.run)
                await told.until(lambda: told.names[-1:] == ["w"])

        async def check(done: Round) -> None:
            """Each worker that was heard of is told as left."""
            assert told.names in ([], [url], ["w", url])
            await act()
            assert told.names[-2:] == ["w", url]

        yield Trial(act=act, check=check)
