"""WebSockets, with trio-websocket as the client where it can do what is asked."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto import ConnectionType
from wsproto.connection import Connection as Frames
from wsproto.events import BytesMessage, Event, Ping, Pong, TextMessage

from sie.listener.asgi import Message as Said
from sie.listener.asgi import Receive, Scope, Send
from tests.listener.conftest import SOON_S, OpenSite, Site, get, nothing_left
from tests.listener.test_requests import statuses

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13")


class Talk:
    """An app that echoes, does what messages tell it, and notes what it was told."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.heard: list[Said] = []
        self.accepted = trio.Event()
        self.over = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        assert (await receive()) == {"type": "websocket.connect"}
        headers = [(b"x-one", b"1")]
        await send(
            {"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None), "headers": headers}
        )
        self.accepted.set()
        try:
            await self.talk(receive, send)
        finally:
            self.over.set()

    async def talk(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.heard.append(message)
            if message["type"] == "websocket.disconnect":
                return
            match message.get("text"):
                case "close":
                    await send({"type": "websocket.close", "code": 4001, "reason": "as told"})
                case "end":
                    return
                case "fail":
                    raise KeyError("hunter2")
                case "sleep":
                    await trio.sleep_forever()
                case text:
                    await send({"type": "websocket.send", "text": text, "bytes": message.get("bytes")})


@asynccontextmanager
async def talking(site: Site, **options: Any) -> AsyncIterator[WebSocketConnection]:
    """Over a stream of ours: trio-websocket leaves its own open when the server closes first."""
    with trio.fail_after(SOON_S * 2):
        async with await site.connect() as stream, trio.open_nursery() as nursery:
            async with await wrap_client_stream(nursery, stream, "127.0.0.1", "/talk?q", **options) as socket:
                yield socket
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_messages_go_both_ways(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk)
    async with talking(site, subprotocols=["one", "two"]) as socket:
        assert socket.subprotocol == "one"
        assert (b"x-one", b"1") in socket.handshake_headers
        for message in ("well", "", "\u20ac" * 10_000, b"\xff" * 300_000, b""):
            await socket.send_message(message)
            assert await socket.get_message() == message
    await talk.over.wait()
    assert talk.heard[-1] == {"type": "websocket.disconnect", "code": 1000, "reason": ""}
    [scope] = talk.scopes
    assert (scope["type"], scope["path"], scope["query_string"]) == ("websocket", "/talk", b"q")
    assert (scope["scheme"], scope["subprotocols"]) == ("ws", ["one", "two"])
    assert "method" not in scope


@pytest.mark.parametrize(
    ("said", "code", "reason"), [("close", 4001, "as told"), ("end", 1000, None), ("fail", 1011, None)]
)
async def test_an_app_ends_it_with_its_code(open_site: OpenSite, said: str, code: int, reason: str | None) -> None:
    talk = Talk()
    site = await open_site(talk)
    async with talking(site) as socket:
        await socket.send_message(said)
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
        assert socket.closed is not None
        assert (socket.closed.code, socket.closed.reason) == (code, reason)
    with trio.fail_after(SOON_S):
        await talk.over.wait()


async def test_a_client_ends_it_with_its_code(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk)
    async with talking(site) as socket:
        await socket.aclose(4002, "enough")
    await talk.over.wait()
    assert talk.heard == [{"type": "websocket.disconnect", "code": 4002, "reason": "enough"}]


async def test_pings_are_answered_whether_the_app_receives_or_not(open_site: OpenSite) -> None:
    site = await open_site(Talk())
    async with talking(site) as socket:
        await socket.ping(b"one")
        await socket.send_message("sleep")
        await trio.sleep(0.05)
        await socket.ping(b"two")


async def test_a_message_beyond_its_limit_is_refused_with_1009(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk, websocket_bytes=1_000)
    async with talking(site) as socket:
        await socket.send_message("x" * 1_000)
        assert len(await socket.get_message()) == 1_000
        await socket.send_message("x" * 1_001)
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == 1009
    await talk.over.wait()
    assert talk.heard[-1]["code"] == 1009


async def test_a_hang_up_is_told_after_what_was_said_before(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk)
    raw = Raw(await site.connect())
    await raw.begin()
    await raw.send(TextMessage("one"), TextMessage("two"))
    await raw.stream.aclose()
    with trio.fail_after(SOON_S):
        await talk.over.wait()
    assert [one.get("text") for one in talk.heard] == ["one", "two", None]
    assert talk.heard[-1]["code"] == 1006


async def test_an_app_that_does_not_receive_is_cancelled_when_its_client_has_gone(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk, leave_s=0.05)
    raw = Raw(await site.connect())
    await raw.begin()
    await raw.send(TextMessage("sleep"))
    await trio.sleep(0.05)
    await raw.stream.aclose()
    with trio.fail_after(SOON_S):
        await talk.over.wait()


async def test_fragments_and_early_frames_are_put_together(open_site: OpenSite) -> None:
    site = await open_site(Talk())
    raw = Raw(await site.connect())
    first = raw.frames.send(TextMessage("we", message_finished=False))
    await raw.stream.send_all(get("/talk", *UPGRADE, KEY) + first)
    raw.frames.receive_data((await raw.answer())[1])
    await raw.send(Ping(b"between"), TextMessage("ll"), BytesMessage(b"\0"))
    assert [await raw.next() for _ in range(3)] == [Pong(b"between"), TextMessage("well"), BytesMessage(b"\0")]
    await raw.stream.aclose()


@pytest.mark.parametrize("stray", [b"x", b"\x81\x80\x00\x00\x00\x00", b"\xff" * 100, b"\x81\x01a", b"\x81\xff" * 9])
async def test_what_is_no_frame_closes_it(open_site: OpenSite, caplog: pytest.LogCaptureFixture, stray: bytes) -> None:
    site = await open_site(Talk())
    async with nothing_left():
        said = await site.send(get("/talk", *UPGRADE, KEY), stray, silence_s=0.05)
    assert statuses(said) == [101]
    assert all(record.levelno < logging.ERROR for record in caplog.records)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/talk", *UPGRADE[:2], "Sec-WebSocket-Version: 12", KEY), 426),
        (get("/talk", *UPGRADE), 400),
        (get("/talk", *UPGRADE, "Sec-WebSocket-Key: short"), 400),
        (get("/talk", *UPGRADE, KEY, method="POST"), 400),
    ],
)
async def test_a_handshake_that_is_none_is_refused(open_site: OpenSite, request_: bytes, status: int) -> None:
    site = await open_site(Talk())
    assert statuses(await site.send(request_)) == [status]


async def test_an_app_refuses_with_403_or_with_an_answer_of_its_own(open_site: OpenSite) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/plain":
            await send({"type": "websocket.close"})
        else:
            headers = [(b"content-type", b"text/x-none")]
            await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"no such ", "more_body": True})
            await send({"type": "websocket.http.response.body", "body": b"thing"})
        assert (await receive())["type"] == "websocket.disconnect"

    site = await open_site(app)
    assert statuses(await site.send(get("/plain", *UPGRADE, KEY))) == [403]
    said = await site.send(get("/other", *UPGRADE, KEY))
    assert said.startswith(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/x-none\r\n")
    assert b"no such " in said
    assert b"thing" in said


async def test_a_header_that_would_be_more_than_one_is_refused(open_site: OpenSite) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "headers": [(b"x", b"a\r\nset-cookie: b")]})

    site = await open_site(app)
    said = await site.send(get("/", *UPGRADE, KEY))
    assert statuses(said) == [500]
    assert b"cookie" not in said


async def test_a_stop_closes_it_with_1001(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk, grace_s=30)
    async with talking(site) as socket:
        await talk.accepted.wait()
        site.stop.set()
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == 1001
    with trio.fail_after(SOON_S):
        await site.stopped.wait()
    assert talk.heard[-1]["code"] == 1001


async def test_a_flood_of_pings_holds_up_nobody(open_site: OpenSite) -> None:
    talk = Talk()
    site = await open_site(talk)
    raw = Raw(await site.connect())
    await raw.begin()
    await raw.send(TextMessage("sleep"))
    flood = b"".join(raw.frames.send(Ping(b"x")) for _ in range(5_000))
    async with trio.open_nursery() as nursery:

        async def pour() -> None:
            while True:
                await raw.stream.send_all(flood)

        nursery.start_soon(pour)
        with trio.fail_after(SOON_S):
            for _ in range(5):
                async with talking(site) as socket:
                    await socket.send_message("well")
                    assert await socket.get_message() == "well"
        nursery.cancel_scope.cancel(reason="seen")
    await raw.stream.aclose()


class Raw:
    """A client that sends what no library would."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.frames = Frames(ConnectionType.CLIENT)

    async def begin(self) -> None:
        await self.stream.send_all(get("/talk", *UPGRADE, KEY))
        self.frames.receive_data((await self.answer())[1])

    async def answer(self) -> tuple[bytes, bytes]:
        said = b""
        while b"\r\n\r\n" not in said:
            said += await self.stream.receive_some()
        assert statuses(said) == [101]
        head, _, rest = said.partition(b"\r\n\r\n")
        return head, rest

    async def send(self, *events: TextMessage | BytesMessage | Ping) -> None:
        await self.stream.send_all(b"".join(self.frames.send(event) for event in events))

    async def next(self) -> Event:
        while True:
            for event in self.frames.events():
                return event
            self.frames.receive_data(await self.stream.receive_some() or None)
