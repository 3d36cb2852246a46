"""The protocols beside plain HTTP/1.1 that come through the same connection."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Request, TextMessage

from tests.http.conftest import OpenSite


@pytest.mark.parametrize("server", ["hypercorn"], indirect=True)
async def test_http_2_with_prior_knowledge_is_spoken(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client(http1=False, http2=True) as client:
        plain = await client.get("/plain")
        large = await client.get("/large")
    assert (plain.http_version, plain.text) == ("HTTP/2", "well")
    assert len(large.content) == 12_000_000


@pytest.mark.parametrize("server", ["hypercorn"], indirect=True)
async def test_a_body_whose_length_http_2_does_not_say_is_read(open_site: OpenSite) -> None:
    site = await open_site()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"items": [{"text": '
        yield b'"x"}]}'

    async with site.client(http1=False, http2=True) as client:
        answer = await client.post(
            "/v1/encode/org/model",
            content=body(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
    assert len(answer.json()["items"]) == 1


async def test_many_requests_come_over_one_connection(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client(limits=httpx.Limits(max_connections=1)) as client:
        ports = {
            (await client.get("/plain")).extensions["network_stream"].get_extra_info("client_addr")[1]
            for _ in range(50)
        }
    assert len(ports) == 1


async def test_pipelined_requests_are_answered_in_order(open_site: OpenSite) -> None:
    site = await open_site()
    one = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
    other = b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    said = await site.send(one + other + last)
    assert re.findall(rb"HTTP/1\.1 (\d+)", said) == [b"200", b"404", b"200"]


class Socket:
    """A WebSocket client, as little of one as the tests need."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.protocol = WSConnection(ConnectionType.CLIENT)

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self.protocol.send(event))

    async def next(self) -> Event:
        while True:
            for event in self.protocol.events():
                return event
            self.protocol.receive_data(await self.stream.receive_some() or None)


async def test_a_websocket_echoes_and_takes_no_message_beyond_its_limit(open_site: OpenSite) -> None:
    site = await open_site(websocket_bytes=1_000)
    async with await site.connect() as stream:
        socket = Socket(stream)
        await socket.send(Request(host="x", target="/echo"))
        assert isinstance(await socket.next(), AcceptConnection)
        await socket.send(TextMessage("well"))
        answer = await socket.next()
        assert isinstance(answer, TextMessage)
        assert answer.data == "well"
        await socket.send(TextMessage("x" * 1_001))
        refusal = await socket.next()
        assert isinstance(refusal, CloseConnection)
        assert refusal.code == 1009


HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (b"/ws/status", 404, b'"not_found"'),
        (b"/v1/nothing", 404, b'"NOT_FOUND"'),
        (b"/v1/encode/org/model", 405, b'"METHOD_NOT_ALLOWED"'),
        (b"/plain", 400, b'"parse_error"'),
    ],
)
async def test_a_websocket_where_none_is_served_is_refused_as_a_request_would_be(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture, path: bytes, status: int, code: bytes
) -> None:
    site = await open_site(keep_alive_s=0.1)
    with caplog.at_level("WARNING"):
        said = await site.send(HANDSHAKE % path)
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert code in said
    assert not caplog.records


async def test_a_stray_byte_after_a_refused_websocket_costs_lines_of_log_and_no_stacks(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(keep_alive_s=0.1)
    with caplog.at_level("WARNING"):
        await site.send(HANDSHAKE % b"/plain" + b"X")
        assert await site.is_well()
    assert all(record.exc_info is None for record in caplog.records), caplog.text
