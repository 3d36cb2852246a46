"""What a client can do to a connection stays in that connection."""

from __future__ import annotations

import random
import socket
import struct

import pytest
import trio

from tests.listener.conftest import OpenSite, Site, get, nothing_left
from tests.listener.test_requests import statuses

HOST = b"Host: x\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

# What each is answered: 0 is nothing, as no request was begun or none ended.
MALFORMED = [
    (b"", 0),
    (b"\r\n\r\n", 0),
    (b"GET", 0),
    (b"\x00", 400),
    (b"\xff" * 1_000, 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, 400),
    (b"BREW /plain HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"get /plain HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /plain\r\n\r\n", 505),
    (b"GET /plain HTTP/0.9\r\n\r\n", 505),
    (b"GET /plain HTTP/1.9\r\n" + HOST + b"\r\n", 400),
    (b"GET /plain HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET /pl ain HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http://[/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /plain HTTP/1.1\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\r\n" + HOST * 2 + b"\r\n", 400),
    (b"GET /plain HTTP/1.1\r\nHost x\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\r\n: x\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\n" + HOST + b"\n", 400),
    (b"GET /plain HTTP/1.1\r\n" + HOST + b"A: \x00\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\r\n" + HOST + b"A: a\rb\r\n\r\n", 400),
    (b"GET /plain HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 101 + b"\r\n", 431),
    (b"GET /plain HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    (b"GET /plain HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 70_000, 431),
    (b"GET /plain HTTP/1.1\r\n" + b"a" * 70_000, 431),
    (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET /" + b"a" * 70_000, 414),
    (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx", 400),
    (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n") + b"0\r\n\r\n", 400),
    (CHUNKED.replace(b"chunked", b"gzip"), 501),
    (CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n", 501),
    (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", 501),
    (CHUNKED + b"zz\r\n", 400),
    (CHUNKED + b"-1\r\n", 400),
    (CHUNKED + b"ffffffffffffffffff\r\n", 400),
    (CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", 400),
    (CHUNKED + b"0\r\n" + b"A: " + b"a" * 70_000 + b"\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\n" + HOST + b"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\nx", 417),
    (b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\nstray", 501),
]


@pytest.mark.parametrize("way", ["waits", "half", "closes", "resets", "drips"])
async def test_malformed_requests_end_their_own_connection(open_site: OpenSite, way: str) -> None:
    site = await open_site(head_s=0.1, keep_alive_s=0.1, body_stall_s=0.1, linger_s=0.05)
    async with trio.open_nursery() as nursery:
        for content, _ in MALFORMED:
            nursery.start_soon(misbehave, site, content, way)
    assert await site.is_well()


async def test_each_malformed_request_is_told_what_it_is(open_site: OpenSite) -> None:
    site = await open_site(head_s=0.1, keep_alive_s=0.1, linger_s=0.05)
    told: dict[bytes, list[int]] = {}

    async def ask(content: bytes) -> None:
        told[content] = statuses(await site.send(content))

    async with trio.open_nursery() as nursery:
        for content, _ in MALFORMED:
            nursery.start_soon(ask, content)
    told[b"GET"].remove(408)  # the only one that is begun, well-formed, and never ended
    told[b"\r\n\r\n"].remove(408)
    wanted = {content: [status] if status else [] for content, status in MALFORMED}
    assert [one for one in told.items() if one[1] != wanted[one[0]]] == []


@pytest.mark.parametrize("seed", range(4))
async def test_requests_with_bytes_changed_do_no_harm(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    site = await open_site(head_s=0.1, keep_alive_s=0.05, body_stall_s=0.05, linger_s=0.05)
    chance = random.Random(seed)
    whole = get("/echo", method="POST", body=b"abc") + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + get("/plain")

    async def ask() -> None:
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content))
            content[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        said = statuses(await site.send(bytes(content)))
        assert 500 not in said

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
    assert not caplog.records
    assert await site.is_well()


async def test_framing_without_content_is_no_body(open_site: OpenSite) -> None:
    site = await open_site()
    flood = b"1;" + b"x" * 10_000
    assert statuses(await site.send(CHUNKED, *[flood] * 20, silence_s=1)) == [400]


async def test_a_flood_of_tiny_chunks_is_a_body(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n" + get("/plain", "Connection: close"))
    assert b"x" * 50_000 in said
    assert said.endswith(b"well")


async def test_neither_one_who_reads_slowly_nor_one_who_sends_without_pause_holds_up_another(
    open_site: OpenSite,
) -> None:
    site = await open_site()
    done = trio.Event()

    async def flood(stream: trio.SocketStream) -> None:
        while not done.is_set():
            await stream.send_all(get("/plain") * 500)

    async def drain(stream: trio.SocketStream) -> None:
        while not done.is_set():
            await stream.receive_some()

    async with (
        await site.connect() as slow,
        await site.connect() as sending,
        await site.connect() as fast,
        trio.open_nursery() as nursery,
    ):
        await slow.send_all(get("/large"))
        await sending.send_all(get("/echo", "Content-Length: 1000000", method="POST") + b"x")
        nursery.start_soon(flood, fast)
        nursery.start_soon(drain, fast)
        with trio.fail_after(5):
            for _ in range(20):
                assert await site.is_well()
        done.set()
        nursery.cancel_scope.cancel(reason="seen")


@pytest.mark.parametrize("path", ["/plain", "/held", "/waits", "/large", "/echo", "/broken", "/nope"])
async def test_nothing_is_left_of_connections_that_end_in_any_way(open_site: OpenSite, path: str) -> None:
    site = await open_site(linger_s=0.05, leave_s=0.05)
    assert await site.is_well()
    await trio.sleep(0.1)
    async with nothing_left():
        for way in ("closes", "half", "resets", "drips"):
            for _ in range(5):
                await misbehave(site, get(path, "Content-Length: 5", method="POST"), way)


async def misbehave(site: Site, content: bytes, way: str) -> None:
    async with await site.connect() as stream:
        try:
            if way == "drips":
                for at in range(min(40, len(content))):
                    await stream.send_all(content[at : at + 1])
            else:
                await stream.send_all(content)
            if way == "half":
                await stream.send_eof()
            if way in ("waits", "half"):
                with trio.move_on_after(2):
                    while await stream.receive_some():
                        pass
            if way == "resets":
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except trio.BrokenResourceError:
            pass
