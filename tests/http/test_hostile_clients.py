"""What any client can do to a connection stays in that connection, and ends in its time."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import trio

from tests.http.conftest import OpenSite, Site

UPGRADE = (
    b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def test_an_upgrade_followed_by_a_stray_byte_ends_its_connection_only(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client() as other:
        await other.get("/plain")
        for _ in range(5):
            await site.send(UPGRADE + b"x", silence_s=0.05)
        assert (await other.get("/plain")).text == "well"
    assert await site.is_well()
    assert not site.stopped.is_set()


async def test_a_reader_that_stalls_does_not_hold_a_stop(open_site: OpenSite) -> None:
    site = await open_site(grace_s=0.2, write_stall_s=600)
    stream = await stalled(site)
    site.stop.set()
    with trio.fail_after(5):
        await site.stopped.wait()
    await stream.aclose()


async def test_a_reader_that_stalls_is_given_up_after_its_time(open_site: OpenSite) -> None:
    site = await open_site(write_stall_s=0.2)
    stream = await stalled(site)
    await trio.sleep(0.9)  # longer than its time: the one thing here that only time can bring
    assert 0 < await read_to_end(stream) < 12_000_000
    assert await site.is_well()


async def test_a_reader_that_is_slow_but_reads_gets_everything(open_site: OpenSite) -> None:
    site = await open_site(write_stall_s=5)
    stream = await stalled(site)
    assert await read_to_end(stream) > 12_000_000


@pytest.mark.parametrize(
    ("sent", "patience"),
    [
        (b"", {"keep_alive_s": 0.1}),
        (b"GET /plain HTTP/1.1\r\nHost: x\r\n", {"header_s": 0.1}),
        (b"G", {"header_s": 0.1}),
        (b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n", {"keep_alive_s": 0.1}),
        (b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\nGET", {"header_s": 0.1, "keep_alive_s": 0.1}),
        (H2, {"header_s": 0.1, "keep_alive_s": 0.1}),
    ],
)
async def test_a_client_that_says_nothing_more_is_left(
    open_site: OpenSite, sent: bytes, patience: dict[str, float]
) -> None:
    site = await open_site(**patience)
    stream = await site.connect()
    await stream.send_all(sent)
    with trio.fail_after(5):
        await read_to_end(stream)


async def test_a_header_sent_byte_by_byte_gets_no_more_time_for_it(open_site: OpenSite) -> None:
    site = await open_site(header_s=0.2, linger_s=0)
    async with await site.connect() as stream:
        await stream.send_all(b"GET /plain HTTP/1.1\r\n")
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"X")
                await trio.sleep(0.01)


async def test_a_request_in_work_is_not_hurried_by_the_patience_for_idle_clients(open_site: OpenSite) -> None:
    site = await open_site(keep_alive_s=0.05, header_s=0.05)
    async with await site.connect() as stream:
        await stream.send_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.asked.wait()
        await trio.sleep(0.2)  # longer than either
        site.go.set()
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_ends_its_request(open_site: OpenSite) -> None:
    site = await open_site()
    stream = await site.connect()
    await stream.send_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
    await site.asked.wait()
    await stream.aclose()
    with trio.fail_after(5):
        await site.gone.wait()


async def test_a_flood_of_tiny_chunks_to_a_route_that_reads_none_leaves_nothing_behind(open_site: OpenSite) -> None:
    site = await open_site(grace_s=math.inf)
    head = b"POST /nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(5):
        assert (await site.send(head + b"1\r\nx\r\n" * 5_000)).startswith(b"HTTP/1.1 404")
    site.stop.set()
    with trio.fail_after(5):
        await site.stopped.wait()


MALFORMED = [
    b"\x00",
    b"\r\n\r\n",
    b"\xff" * 1_000,
    b"GET",
    b"GET /plain\r\n\r\n",
    b"GET /plain HTTP/0.9\r\n\r\n",
    b"GET /plain HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /pl ain HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /plain HTTP/1.1\r\n\r\n",
    b"GET /plain HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /plain HTTP/1.1\r\nHost x\r\n\r\n",
    b"GET /plain HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /plain HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    b"GET /plain HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    b"GET /plain HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /plain HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\nx",
    b"CONNECT /plain HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\nstray",
    UPGRADE + b"\x81\x80\x00\x00\x00\x00",
    UPGRADE.replace(b"13", b"12") + b"x",
    UPGRADE.replace(b"GET", b"POST"),
    UPGRADE.replace(b"websocket", b"h2c"),
    UPGRADE.replace(b"websocket", b"h2c") + b"stray",
    b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    H2 + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    H2 + b"\xff" * 100,
    H2 + b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\xff",
    H2 + b"\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
]


async def test_malformed_requests_end_their_connection_only_and_are_never_our_fault(open_site: OpenSite) -> None:
    site = await open_site(header_s=1, keep_alive_s=1)
    for content in MALFORMED:
        said = await site.send(content, silence_s=0.05)
        assert not said.startswith(b"HTTP/1.1 500"), content[:60]
    assert await site.is_well()
    assert not site.stopped.is_set()


async def stalled(site: Site) -> trio.SocketStream:
    """A client that has asked for 12 MB and reads none of it, once the server can send no more."""
    stream = await site.connect()
    await stream.send_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked(0.05)
    return stream


async def read_to_end(stream: trio.SocketStream) -> int:
    size = 0
    try:
        while piece := await stream.receive_some(1_000_000):
            size += len(piece)
    except trio.BrokenResourceError:
        pass
    await stream.aclose()
    return size
