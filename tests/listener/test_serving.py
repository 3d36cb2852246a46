"""Accepting and stopping, and a framework behind the listener."""

from __future__ import annotations

import errno
import socket
from functools import partial

import httpx
import pytest
import trio
from quart import Blueprint, request, websocket
from trio_websocket import open_websocket

from sie.http.app import http_app
from sie.http.body import read_body
from sie.listener.asgi import Receive, Scope, Send
from sie.listener.limits import Limits
from sie.listener.server import serve
from sie.listener.watch import EdgeWatch, Watch
from sie.settings import Settings
from tests.listener.conftest import LARGE, SOON_S, OpenSite, Site, get, nothing_left
from tests.listener.test_requests import statuses


async def test_a_stop_closes_the_port_and_idle_connections_and_answers_what_is_in_hand(open_site: OpenSite) -> None:
    site = await open_site(grace_s=30)
    async with await site.connect() as idle, await site.connect() as begun, await site.connect() as held:
        await idle.send_all(get("/plain"))
        assert statuses(bytes(await idle.receive_some())) == [200]
        await begun.send_all(b"GET /plain HT")
        await held.send_all(get("/held"))
        await site.asked.wait()
        site.stop.set()
        with trio.fail_after(SOON_S):
            assert await idle.receive_some() == b""
            with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
                assert await begun.receive_some() == b""
                raise trio.BrokenResourceError
        with pytest.raises(OSError):
            await site.connect()
        assert not site.stopped.is_set()
        site.go.set()
        said = bytes(await held.receive_some())
        assert statuses(said) == [200]
        assert b"connection: close\r\n" in said
        with trio.fail_after(SOON_S):
            assert await held.receive_some() == b""
            await site.stopped.wait()


@pytest.mark.parametrize("path", ["/held", "/waits", "/large"])
async def test_what_outlasts_the_grace_period_is_cut(open_site: OpenSite, path: str) -> None:
    site = await open_site(grace_s=0.05)
    async with await site.connect() as stream:
        await stream.send_all(get(path))
        await trio.sleep(0.1)
        site.stop.set()
        with trio.fail_after(SOON_S):
            await site.stopped.wait()


async def test_an_app_that_fails_as_it_is_cancelled_does_not_take_the_rest_with_it(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    asked = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                asked.set()
                await trio.sleep_forever()
            finally:
                raise KeyError("hunter2")

    site = await open_site(app, grace_s=0)
    async with await site.connect() as stream:
        await stream.send_all(get("/"))
        await asked.wait()
        site.stop.set()
        with trio.fail_after(SOON_S):
            await site.stopped.wait()
    [record] = caplog.records
    assert "hunter2" in record.message


async def test_cancelling_it_leaves_nothing(watch: Watch) -> None:
    site = Site(0, trio.Event(), trio.Event())
    watch.close()
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            site.port = listeners[0].socket.getsockname()[1]
            await nursery.start(partial(serve, site.app, listeners, stop=site.stop, watch=type(watch)()))
            streams = [await site.connect() for _ in range(5)]
            for stream, path in zip(streams, ("/held", "/waits", "/large", "/plain", "/echo"), strict=True):
                await stream.send_all(get(path, "Content-Length: 1", method="POST"))
            await trio.sleep(0.05)
            for _ in range(3):
                streams.append(await site.connect())
            nursery.cancel_scope.cancel(reason="the test is over")
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_more_connections_than_may_be_wait_for_their_turn(open_site: OpenSite) -> None:
    site = await open_site(connections=2)
    streams = [await site.connect() for _ in range(3)]
    for stream in streams:
        await stream.send_all(get("/plain"))
    for stream in streams[:2]:
        assert statuses(bytes(await stream.receive_some())) == [200]
    with trio.move_on_after(0.1) as waiting:
        await streams[2].receive_some()
    assert waiting.cancelled_caught
    await streams[0].aclose()
    with trio.fail_after(SOON_S):
        assert statuses(bytes(await streams[2].receive_some())) == [200]
    for stream in streams[1:]:
        await stream.aclose()


async def test_accepting_goes_on_when_there_were_no_descriptors(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Taking them away for real would take them from everything else in this process."""
    site = await open_site(accept_pause_s=0.05)
    real, failures = socket.socket.accept, iter([errno.EMFILE, errno.ECONNABORTED, errno.ENFILE])

    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        for number in failures:
            raise OSError(number, "scripted")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with trio.fail_after(SOON_S):
        assert await site.is_well()
    assert len(caplog.records) == 2


async def test_hundreds_of_idle_connections_are_closed_in_their_time(open_site: OpenSite) -> None:
    site = await open_site(keep_alive_s=0.5)
    assert await site.is_well()
    await trio.sleep(0.1)
    async with nothing_left():
        streams = [await site.connect() for _ in range(300)]
        assert await site.is_well()
        with trio.fail_after(SOON_S):
            for stream in streams:
                assert await stream.receive_some() == b""
                await stream.aclose()


async def test_a_number_that_is_used_again_is_heard_of_anew() -> None:
    """A descriptor's number is used again at once; nobody hears of another's bytes."""
    watch = EdgeWatch()
    heard: list[tuple[int, bool]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        for turn in range(3):
            ours, theirs = socket.socketpair()
            watch.add(ours, partial(lambda turn, gone: heard.append((turn, gone)), turn))
            theirs.close()
            await trio.sleep(0.02)
            watch.remove(ours)
            ours.close()
        nursery.cancel_scope.cancel(reason="seen")
    watch.close()
    assert heard == [(0, True), (1, True), (2, True)]


async def quart_site(nursery: trio.Nursery, routes: Blueprint) -> tuple[str, int]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await nursery.start(
        partial(serve, http_app(Settings(), routes), listeners, stop=trio.Event(), limits=Limits(sweep_s=0.05))
    )
    return f"http://127.0.0.1:{port}", port


async def test_quart_is_served(nursery: trio.Nursery) -> None:
    routes = Blueprint("plain", __name__)
    asked, gone = trio.Event(), trio.Event()

    @routes.post("/echo")
    async def echo() -> bytes:
        return await read_body(request, 1_000)

    @routes.get("/held")
    async def held() -> str:
        asked.set()
        try:
            await trio.Event().wait()
        finally:
            gone.set()
        return ""

    @routes.get("/large")
    async def large() -> bytes:
        return b"x" * LARGE

    @routes.websocket("/talk")
    async def talk() -> None:
        while True:
            await websocket.send(await websocket.receive())

    url, port = await quart_site(nursery, routes)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as client:
        for _ in range(3):
            answer = await client.post("/echo", content=b"well")
            assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"well", "4")
            assert answer.headers["x-sie-server-version"]
        refused = await client.get("/nope")
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/json")
        assert len((await client.get("/large")).content) == LARGE
        assert (await client.head("/large")).headers["content-length"] == str(LARGE)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(get("/held"))
        await asked.wait()
    with trio.fail_after(SOON_S):
        await gone.wait()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(get("/echo", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n")
        assert statuses(bytes(await stream.receive_some())) == [400]
    async with open_websocket("127.0.0.1", port, "/talk", use_ssl=False) as connection:
        for message in ("well", b"\0" * 100_000):
            await connection.send_message(message)
            assert await connection.get_message() == message
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(
            get(
                "/nope",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        assert statuses(bytes(await stream.receive_some())) == [404]
