"""Bodies are read whole, within their limit and their time, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
import trio
from quart import request

from sie.http.app import http_app
from sie.http.body import read_body
from sie.http.server import serve_app
from sie.settings import Settings
from tests.http.conftest import OpenSite

LIMIT = 1_000_000  # of /body


async def pieces(count: int, size: int = 100_000) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("size", [0, 1, LIMIT])
async def test_a_body_up_to_its_limit_is_read_whole(open_site: OpenSite, size: int) -> None:
    site = await open_site()
    async with site.client() as client:
        assert (await client.post("/body", content=b"x" * size)).text == str(size)


async def test_a_chunked_body_is_counted_while_it_comes(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client() as client:
        assert (await client.post("/body", content=pieces(10))).text == str(LIMIT)
        answer = await client.post("/body", content=pieces(11))
    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")
    assert answer.json()["limit_bytes"] == LIMIT


@pytest.mark.parametrize("size", [LIMIT + 1, 40_000_000])
async def test_the_client_of_too_large_a_body_gets_to_read_why(open_site: OpenSite, size: int) -> None:
    site = await open_site()
    async with site.client() as client:
        answer = await client.post("/body", content=b"x" * size)
    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_too_large_a_body_is_refused_by_its_declared_length_before_it_comes(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_come_is_408_in_its_time(open_site: OpenSite) -> None:
    site = await open_site(body_s=0.05)
    said = await site.send(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    assert said.startswith(b"HTTP/1.1 408")
    assert b'"request_timeout"' in said


async def test_a_client_that_vanishes_while_it_sends_ends_the_request(open_site: OpenSite) -> None:
    site = await open_site()
    stream = await site.connect()
    await stream.send_all(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    await site.asked.wait()
    await stream.aclose()
    with trio.fail_after(5):
        await site.gone.wait()
    assert await site.is_well()


async def test_a_route_that_reads_no_body_does_not_collect_it(open_site: OpenSite) -> None:
    site = await open_site(request_body_bytes=1_000, config_body_bytes=1_000)
    async with site.client() as client:
        assert (await client.request("GET", "/plain", content=b"x" * 100_000)).text == "well"


async def test_an_answer_given_before_the_body_was_read_says_that_the_connection_ends() -> None:
    """A client that is not told would send its next request on it, and get no answer."""
    settings = Settings(port=0)
    app = http_app(settings)

    @app.post("/refused")
    async def refused() -> str:
        return "not even looked at"

    @app.post("/read")
    async def read() -> str:
        return str(len(await read_body(request, 1000)))

    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_app, app, settings, stop=trio.Event()))
        async with httpx.AsyncClient(base_url=url) as client:
            for path, said in (("/refused", "close"), ("/nowhere", "close"), ("/read", None)):
                reply = await client.post(path, content=b"12345")
                assert reply.headers.get("Connection") == said, path
            assert (await client.get("/nowhere")).headers.get("Connection") is None
        nursery.cancel_scope.cancel(reason="the test is over")
