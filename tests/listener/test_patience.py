"""How long clients are waited for, and how soon it is known that they have gone."""

from __future__ import annotations

import time

import pytest
import trio

from sie.listener.asgi import Receive, Scope, Send
from sie.listener.watch import Watch
from tests.listener.conftest import LARGE, SOON_S, OpenSite, answer, body_of, get
from tests.listener.test_requests import statuses

POST = get("/echo", "Content-Length: 1000", method="POST")


@pytest.mark.parametrize(
    ("sent", "limits", "told"),
    [
        (b"", {"keep_alive_s": 0.1}, []),
        (get("/plain"), {"keep_alive_s": 0.1}, [200]),
        (b"G", {"head_s": 0.1}, [408]),
        (b"GET /plain HTTP/1.1\r\n", {"head_s": 0.1}, [408]),
        (get("/plain") + b"GET", {"head_s": 0.1}, [200, 408]),
        (POST, {"body_stall_s": 0.1}, [408]),
        (POST + b"x", {"body_stall_s": 0.1}, [408]),
    ],
)
async def test_a_client_that_says_nothing_more_is_left(
    open_site: OpenSite, watch: Watch, sent: bytes, limits: dict[str, float], told: list[int]
) -> None:
    site = await open_site(watch=watch, **limits)
    with trio.fail_after(SOON_S):
        assert statuses(await site.send(sent)) == told


@pytest.mark.parametrize(
    ("begin", "limits"),
    [(b"GET /", {"head_s": 0.2}), (POST, {"body_stall_s": 0.2, "body_bytes_per_s": 1_000.0})],
)
async def test_a_client_that_drips_gets_no_more_time_for_it(
    open_site: OpenSite, begin: bytes, limits: dict[str, float]
) -> None:
    site = await open_site(**limits)
    said = b""

    async def drip() -> None:
        while True:
            await stream.send_all(b"X")
            await trio.sleep(0.01)

    async with await site.connect() as stream:
        await stream.send_all(begin)
        with trio.fail_after(SOON_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip)
                said = bytes(await stream.receive_some())
                nursery.cancel_scope.cancel(reason="answered")
    assert statuses(said) == [408]


async def test_a_body_that_keeps_its_rate_may_take_longer_than_its_patience(open_site: OpenSite) -> None:
    site = await open_site(body_stall_s=0.15, body_bytes_per_s=1_000.0)
    async with await site.connect() as stream:
        await stream.send_all(POST)
        for _ in range(10):
            await trio.sleep(0.05)
            await stream.send_all(b"x" * 100)
        assert (await stream.receive_some()).endswith(b"x" * 1_000)


async def test_time_that_the_app_takes_is_not_held_against_a_body(open_site: OpenSite) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0.3)
        await answer(send, await body_of(receive))

    site = await open_site(app, body_stall_s=0.1, head_s=0.1, keep_alive_s=0.1)
    assert statuses(await site.send(get("/", "Connection: close", method="POST", body=b"x" * 200_000))) == [200]


async def test_a_request_in_hand_is_not_hurried(open_site: OpenSite) -> None:
    site = await open_site(keep_alive_s=0.05, head_s=0.05, body_stall_s=0.05)
    async with await site.connect() as stream:
        await stream.send_all(get("/held"))
        await trio.sleep(0.3)  # longer than any
        site.go.set()
        assert statuses(bytes(await stream.receive_some())) == [200]


async def test_a_reader_that_takes_nothing_is_cut(open_site: OpenSite) -> None:
    site = await open_site(write_stall_s=0.2)
    async with await site.connect() as stream:
        await stream.send_all(get("/large"))
        await trio.sleep(0.5)  # longer than its time
        size = 0
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
            while piece := await stream.receive_some():
                size += len(piece)
            raise trio.BrokenResourceError
        assert 0 < size < LARGE
    assert await site.is_well()


async def test_a_reader_that_is_slow_but_reads_gets_everything(open_site: OpenSite) -> None:
    site = await open_site(write_stall_s=0.5)
    async with await site.connect() as stream:
        await stream.send_all(get("/large", "Connection: close"))
        size = 0
        while piece := await stream.receive_some(1_000_000):
            size += len(piece)
            await trio.sleep(0.05)
    assert size > LARGE


@pytest.mark.parametrize("half", [False, True])
async def test_a_handler_that_waits_for_something_else_is_cancelled_when_its_client_leaves(
    open_site: OpenSite, watch: Watch, half: bool
) -> None:
    site = await open_site(watch=watch)
    for _ in range(5):
        site.asked, site.gone = trio.Event(), trio.Event()
        async with await site.connect() as stream:
            await stream.send_all(get("/held", method="POST", body=b"abc"))
            await site.asked.wait()
            if half:
                await stream.send_eof()
            else:
                await stream.aclose()
            with trio.fail_after(SOON_S):
                await site.gone.wait()


async def test_a_handler_that_waits_for_its_client_is_told(open_site: OpenSite, watch: Watch) -> None:
    site = await open_site(watch=watch)
    async with await site.connect() as stream:
        await stream.send_all(get("/waits"))
        await site.asked.wait()
    with trio.fail_after(SOON_S):
        await site.gone.wait()
    assert site.heard == [{"type": "http.disconnect"}]


async def test_a_handler_that_was_told_and_stays_is_cancelled(open_site: OpenSite) -> None:
    asked, left = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        asked.set()
        assert (await receive())["type"] == "http.disconnect"
        try:
            await trio.sleep_forever()
        finally:
            left.set()

    site = await open_site(app, leave_s=0.1)
    async with await site.connect() as stream:
        await stream.send_all(get("/"))
        await asked.wait()
    with trio.fail_after(SOON_S):
        await left.wait()


async def test_a_client_that_leaves_amid_its_body_is_noticed(open_site: OpenSite, watch: Watch) -> None:
    gone = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(EOFError):
            await body_of(receive)
        gone.set()

    site = await open_site(app, watch=watch)
    async with await site.connect() as stream:
        await stream.send_all(POST + b"x")
        await trio.sleep(0.05)
    with trio.fail_after(SOON_S):
        await gone.wait()


async def test_a_client_behind_another_that_works_hard_is_known_to_have_gone(open_site: OpenSite) -> None:
    """Bytes that nobody reads do not hide the end."""
    site = await open_site()
    async with await site.connect() as stream:
        await stream.send_all(get("/held") + get("/plain") * 10)
        await site.asked.wait()
        await stream.send_all(get("/plain") * 10)
    began = time.monotonic()
    with trio.fail_after(SOON_S):
        await site.gone.wait()
    assert time.monotonic() - began < SOON_S
