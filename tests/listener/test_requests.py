"""Requests and their answers."""

from __future__ import annotations

import re

import pytest
import trio

from sie.listener.asgi import Receive, Scope, Send
from tests.listener.conftest import LARGE, OpenSite, answer, body_of, get

CLOSE = "Connection: close"


def statuses(said: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d+)", said)]


async def test_an_answer_has_its_length_its_date_and_who_gave_it(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(get("/plain", CLOSE))
    assert re.fullmatch(
        rb"HTTP/1\.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n"
        rb"date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\nserver: test\r\n\r\nwell",
        said,
    )


async def test_an_app_is_told_what_was_asked(open_site: OpenSite) -> None:
    site = await open_site()
    await site.send(get("/%73cope?a=%20b", "X-One: 1 \t", "x-one: \xe4", CLOSE))
    [scope] = site.heard
    assert (scope["type"], scope["method"], scope["path"], scope["raw_path"]) == ("http", "GET", "/scope", b"/%73cope")
    assert (scope["query_string"], scope["http_version"], scope["scheme"]) == (b"a=%20b", "1.1", "http")
    assert scope["headers"] == [
        (b"host", b"x"),
        (b"x-one", b"1"),
        (b"x-one", "\xe4".encode()),
        (b"connection", b"close"),
    ]
    assert scope["server"] == ("127.0.0.1", site.port)
    assert scope["client"][0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [("http://other/scope?q", "/scope", b"q"), ("/scope?", "/scope", b""), ("/scope?a?b", "/scope", b"a?b")],
)
async def test_a_target_of_any_form_has_a_path(open_site: OpenSite, target: str, path: str, query: bytes) -> None:
    site = await open_site()
    assert statuses(await site.send(get(target, CLOSE))) == [200]
    assert (site.heard[0]["path"], site.heard[0]["query_string"]) == (path, query)


async def test_a_connection_carries_many_requests_and_bodies(open_site: OpenSite) -> None:
    site = await open_site()
    async with await site.connect() as stream:
        for number in range(50):
            body = b"%d" % number * 10
            await stream.send_all(get("/echo", method="POST", body=body))
            said = await stream.receive_some()
            assert said.endswith(b"\r\n\r\n" + body)
            assert b"connection" not in said


async def test_pipelined_requests_are_answered_in_order(open_site: OpenSite) -> None:
    site = await open_site()
    one, other = get("/plain"), get("/echo", method="POST", body=b"ab")
    said = await site.send(one + other + get("/nope") + one[:10], one[10:] + get("/plain", CLOSE))
    assert statuses(said) == [200, 200, 404, 200, 200]


async def test_what_comes_after_a_last_request_is_not_looked_at(open_site: OpenSite) -> None:
    site = await open_site()
    assert statuses(await site.send(get("/plain", CLOSE) + get("/plain") + b"\x00")) == [200]


async def test_an_error_behind_a_good_request_waits_for_its_answer(open_site: OpenSite) -> None:
    site = await open_site()
    assert statuses(await site.send(get("/plain") * 2 + b"nonsense\r\n\r\n")) == [200, 200, 400]


async def test_a_request_may_come_a_byte_at_a_time(open_site: OpenSite) -> None:
    site = await open_site()
    request = get("/echo", CLOSE, method="POST", body=b"well")
    said = await site.send(*(request[at : at + 1] for at in range(len(request))))
    assert said.endswith(b"\r\n\r\nwell")


async def test_chunks_in_and_chunks_out(open_site: OpenSite) -> None:
    site = await open_site()
    chunked = get("/echo", "Transfer-Encoding: Chunked", method="POST")
    said = await site.send(chunked + b"2\r\nwe\r\n2;ext=1\r\nll\r\n0\r\nTrailer: x\r\n\r\n" + get("/stream", CLOSE))
    assert b"\r\n\r\nwellHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" in said
    assert said.endswith(b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")
    assert all("trailer" not in str(one) for one in site.heard)


async def test_http_1_0_closes_unless_it_asks_to_be_kept(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(b"GET /plain HTTP/1.0\r\n\r\n")
    assert statuses(said) == [200]
    kept = get("/plain", "Connection: keep-alive", version="1.0")
    said = await site.send(kept + b"GET /plain HTTP/1.0\r\n\r\n")
    assert statuses(said) == [200, 200]
    assert b"connection: keep-alive\r\n" in said


async def test_a_stream_to_http_1_0_ends_with_the_connection(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(get("/stream", "Connection: keep-alive", version="1.0"))
    assert said.endswith(b"\r\n\r\none two")
    assert b"connection: close\r\n" in said
    assert b"chunked" not in said


async def test_head_is_answered_without_a_body_and_the_connection_goes_on(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(get("/plain", method="HEAD") + get("/stream", method="HEAD") + get("/nope", CLOSE))
    assert statuses(said) == [200, 200, 404]
    assert b"well" not in said
    assert b"one" not in said


async def test_continue_is_said_to_who_waits_for_it_when_the_body_is_wanted(open_site: OpenSite) -> None:
    site = await open_site()
    async with await site.connect() as stream:
        await stream.send_all(get("/echo", "Expect: 100-continue", "Content-Length: 4", method="POST"))
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"well")
        assert (await stream.receive_some()).endswith(b"\r\n\r\nwell")
    said = await site.send(get("/plain", "Expect: 100-continue", "Content-Length: 4", method="POST"))
    assert statuses(said) == [200]
    assert b"connection: close" in said


async def test_an_answer_before_the_body_was_read_arrives_and_is_the_last(open_site: OpenSite) -> None:
    site = await open_site()
    said = await site.send(get("/plain", "Content-Length: 3000000", method="POST"), b"x" * 1_000_000)
    assert said.endswith(b"\r\n\r\nwell")
    assert b"connection: close" in said


async def test_a_body_is_not_read_before_it_is_asked_for(open_site: OpenSite) -> None:
    read: list[int] = []
    go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        more = True
        while more:
            message = await receive()
            read.append(len(message["body"]))
            more = message["more_body"]
        await answer(send, b"%d" % sum(read))

    site = await open_site(app, read_bytes=1_000)
    sent = 0
    async with await site.connect() as stream:
        await stream.send_all(get("/", f"Content-Length: {LARGE}", method="POST"))
        with trio.move_on_after(0.2):
            while sent < LARGE:
                sent += await stream.socket.send(b"x" * min(100_000, LARGE - sent))
        assert sent < LARGE  # the kernel's buffers are full, and ours hold next to nothing
        go.set()
        await stream.send_all(b"x" * (LARGE - sent))
        assert (await stream.receive_some()).endswith(b"%d" % LARGE)
    assert max(read) <= 1_000


async def test_a_large_answer_arrives_whole(open_site: OpenSite) -> None:
    site = await open_site()
    assert (await site.send(get("/large", CLOSE))).endswith(b"x" * LARGE)


@pytest.mark.parametrize("path", ["/broken", "/silent"])
async def test_an_app_that_gives_no_answer_is_answered_for(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    site = await open_site()
    said = await site.send(get(path))
    assert statuses(said) == [500]
    assert said.endswith(b"\r\n\r\nInternal Server Error\n")
    assert path in caplog.text
    assert await site.is_well()


async def test_an_error_is_logged_without_the_groups_round_it(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site()
    await site.send(get("/broken"))
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


async def test_an_answer_that_breaks_off_is_cut(open_site: OpenSite, caplog: pytest.LogCaptureFixture) -> None:
    site = await open_site()
    said = await site.send(get("/broken_late"))
    assert said.endswith(b"\r\n\r\n4\r\nhalf\r\n")
    assert "hunter2" in caplog.text
    assert await site.is_well()


async def test_a_body_that_ends_with_the_connection_is_not_ended_by_breaking_off(open_site: OpenSite) -> None:
    site = await open_site()
    async with await site.connect() as stream:
        await stream.send_all(get("/broken_late", version="1.0"))
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
            while await stream.receive_some():
                pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x\r\ny", b"a"),
        (b"x: y", b"a"),
        (b"", b"a"),
        (b"content-length", b"-1"),
    ],
)
async def test_a_header_that_would_be_more_than_one_is_refused(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture, name: bytes, value: bytes
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", headers=[(name, value)])

    site = await open_site(app)
    said = await site.send(get("/"))
    assert statuses(said) == [500]
    assert b"cookie" not in said
    assert "ValueError" in caplog.text


async def test_a_body_of_another_length_than_was_said_is_never_taken_for_whole(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"12345", headers=[(b"content-length", scope["query_string"])])

    site = await open_site(app)
    for length in (4, 6):
        said = await site.send(get(f"/?{length}"))
        assert not said.endswith(b"12345")
        assert not said.endswith(b"1234")
    assert caplog.text.count("RuntimeError") >= 2


async def test_an_apps_own_frames_and_dates_are_kept_or_replaced(open_site: OpenSite) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"Date", b"now"),
            (b"Server", b"mine"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Connection", b"close"),
        ]
        await answer(send, b"well", headers=headers)

    site = await open_site(app)
    assert await site.send(get("/") * 2) == (
        b"HTTP/1.1 200 OK\r\nDate: now\r\nServer: mine\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwell"
    )


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body_have_none(open_site: OpenSite, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", status=status, headers=[(b"content-length", b"0")])

    site = await open_site(app)
    said = await site.send(get("/") + get("/", CLOSE))
    assert statuses(said) == [status, status]
    assert (b"content-length" in said) == (status == 304)


async def test_another_protocol_is_not_taken_up_and_its_request_stands(open_site: OpenSite) -> None:
    site = await open_site()
    h2c = ("Connection: Upgrade", "Upgrade: h2c")
    said = await site.send(get("/plain", *h2c) * 3 + get("/plain", CLOSE))
    assert statuses(said) == [200] * 4
    said = await site.send(get("/plain", *h2c, method="POST", body=get("/nope")) + get("/nope"))
    assert statuses(said) == [200]


async def test_two_thousand_upgrades_at_once_are_two_thousand_requests(open_site: OpenSite) -> None:
    site = await open_site(read_bytes=1 << 20)
    one = b"GET /plain HTTP/1.1\r\nHost:x\r\nConnection:Upgrade\r\nUpgrade:y\r\n\r\n"
    assert len(statuses(await site.send(one * 2_000 + get("/plain", CLOSE)))) == 2_001


async def test_the_disconnect_is_what_comes_after_a_whole_answer(open_site: OpenSite) -> None:
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await answer(send, b"")
        heard.append((await receive())["type"])

    site = await open_site(app)
    assert statuses(await site.send(get("/") + get("/", CLOSE))) == [200, 200]
    assert heard == ["http.disconnect"] * 2
