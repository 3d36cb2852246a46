"""Starting, stopping, and what happens to those who are in the middle of something."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial

import httpx
import pytest
import trio
from quart_trio import QuartTrio

from sie.errors import ConfigurationError
from sie.http.app import http_app
from sie.http.server import serve_app
from sie.settings import Settings
from tests.http.conftest import OpenSite, Site


async def get(site: Site, path: str, answers: list[httpx.Response | httpx.TransportError]) -> None:
    async with site.client() as client:
        try:
            answers.append(await client.get(path))
        except httpx.TransportError as fault:
            answers.append(fault)


async def test_port_0_takes_a_free_port_and_says_which(open_site: OpenSite) -> None:
    site = await open_site()
    assert site.url.startswith("http://127.0.0.1:")
    assert not site.url.endswith(":0")
    assert await site.is_well()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_a_host_may_be_a_name_or_an_address_of_either_kind(nursery: trio.Nursery, host: str) -> None:
    settings = Settings(host=host, port=0)
    url = await nursery.start(partial(serve_app, http_app(settings), settings, stop=trio.Event()))
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).status_code == 404


async def test_an_address_in_use_is_named_as_a_fault_of_configuration(nursery: trio.Nursery) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(port=port)
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            await nursery.start(partial(serve_app, http_app(settings), settings, stop=trio.Event()))


async def test_a_host_that_is_none_is_a_fault_of_configuration(nursery: trio.Nursery) -> None:
    settings = Settings(host="256.0.0.1.invalid", port=0)
    with pytest.raises(ConfigurationError, match="SIE_HOST"):
        await nursery.start(partial(serve_app, http_app(settings), settings, stop=trio.Event()))


async def test_a_stop_closes_the_port_at_once_and_lets_requests_in_work_finish(
    open_site: OpenSite, nursery: trio.Nursery
) -> None:
    site = await open_site(grace_s=30)
    answers: list[httpx.Response | httpx.TransportError] = []
    nursery.start_soon(get, site, "/held", answers)
    await site.asked.wait()
    site.stop.set()
    with trio.fail_after(5):
        while await accepts(site):
            await trio.lowlevel.checkpoint()
    assert not site.stopped.is_set()
    site.go.set()
    with trio.fail_after(5):
        await site.stopped.wait()
    [answer] = answers
    assert isinstance(answer, httpx.Response)
    assert (answer.status_code, answer.text) == (200, "at last")


async def test_a_request_that_outlasts_the_grace_period_is_cut(open_site: OpenSite, nursery: trio.Nursery) -> None:
    site = await open_site(grace_s=0.05)
    answers: list[httpx.Response | httpx.TransportError] = []
    nursery.start_soon(get, site, "/held", answers)
    await site.asked.wait()
    site.stop.set()
    with trio.fail_after(5):
        await site.stopped.wait()
        await site.gone.wait()
        while not answers:
            await trio.lowlevel.checkpoint()
    assert isinstance(answers[0], httpx.TransportError)


async def test_idle_and_half_begun_connections_do_not_hold_a_stop(open_site: OpenSite) -> None:
    site = await open_site(grace_s=30)
    async with site.client() as client:
        await client.get("/plain")
        idle, begun = await site.connect(), await site.connect()
        await begun.send_all(b"GET /plain HT")
        await trio.testing.wait_all_tasks_blocked()
        site.stop.set()
        with trio.fail_after(5):
            await site.stopped.wait()
        await idle.aclose()
        await begun.aclose()


async def test_the_apps_own_beginning_and_end_are_run(nursery: trio.Nursery) -> None:
    settings = Settings(port=0)
    seen: list[str] = []
    app = http_app(settings)

    @app.before_serving
    async def begin() -> None:
        seen.append("begin")

    @app.after_serving
    async def end() -> None:
        seen.append("end")

    stop, stopped = trio.Event(), trio.Event()

    async def serve(task_status: trio.TaskStatus[str]) -> None:
        await serve_app(app, settings, stop=stop, task_status=task_status)
        stopped.set()

    await nursery.start(serve)
    assert seen == ["begin"]
    stop.set()
    with trio.fail_after(5):
        await stopped.wait()
    assert seen == ["begin", "end"]


async def test_a_port_beyond_the_last_is_refused_and_none_other_taken() -> None:
    with pytest.raises(ConfigurationError, match="65535"):
        await serve_app(http_app(Settings()), Settings(port=99_999), stop=trio.Event())


async def test_an_app_that_cannot_begin_is_not_served() -> None:
    settings = Settings(port=0)
    app: QuartTrio = http_app(settings)

    @app.before_serving
    async def begin() -> None:
        raise RuntimeError("no")

    with trio.fail_after(5), pytest.RaisesGroup(Exception, flatten_subgroups=True, allow_unwrapped=True):
        await serve_app(app, settings, stop=trio.Event())


async def test_cancelling_the_server_ends_it_at_once_even_amid_a_stalled_answer() -> None:
    settings = Settings(port=0, write_stall_s=600, grace_s=600)
    app = http_app(settings)

    @app.get("/large")
    async def large() -> bytes:
        return b"x" * 12_000_000

    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_app, app, settings, stop=trio.Event()))
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 200")
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(5, shield=True):
                nursery.cancel_scope.cancel(reason="the test is over")
                with suppress(trio.BrokenResourceError):
                    while await stream.receive_some(1_000_000):
                        pass


async def accepts(site: Site) -> bool:
    try:
        await (await site.connect()).aclose()
    except OSError:
        return False
    return True
