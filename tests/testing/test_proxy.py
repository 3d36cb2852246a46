"""The proxy that fails on command: each fault does what it says, and only that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import h11
import pytest
import trio

from sie.testing.proxy import Answer, CutAfter, CutBefore, Delay, Fault, Hold, LandLate, Proxy, Swallow, open_proxy


class _Counter:
    """An HTTP server that keeps each request's body, and answers with how many there have been."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.port = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        body = b""
        async with stream:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(100))
                elif isinstance(event, h11.Data):
                    body += event.data
            self.bodies.append(body)
            said = f"number {len(self.bodies)}".encode()
            head = h11.Response(status_code=201, headers=[("content-length", str(len(said)))])
            for part in (head, h11.Data(data=said), h11.EndOfMessage()):
                await stream.send_all(connection.send(part) or b"")


@asynccontextmanager
async def _counter(*faults: Fault | None) -> AsyncIterator[tuple[_Counter, Proxy]]:
    counter = _Counter()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, counter.serve, 0, host="127.0.0.1"))
        counter.port = listeners[0].socket.getsockname()[1]
        async with open_proxy(("127.0.0.1", counter.port), faults=faults) as proxy:
            yield counter, proxy
        nursery.cancel_scope.cancel(reason="the test is over")


@asynccontextmanager
async def _echo() -> AsyncIterator[Proxy]:
    """A proxy for bytes, in front of a server that sends back what it gets."""

    async def echo(stream: trio.SocketStream) -> None:
        async with stream:
            async for chunk in stream:
                await stream.send_all(chunk)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        async with open_proxy(listeners[0].socket.getsockname()[:2]) as proxy:
            yield proxy
        nursery.cancel_scope.cancel(reason="the test is over")


async def _post(stream: trio.SocketStream, body: bytes, *headers: tuple[str, str]) -> tuple[int, bytes] | None:
    """Status and body; None if the connection was cut instead."""
    connection = h11.Connection(h11.CLIENT)
    given = [("host", "here"), ("content-length", str(len(body))), *headers]
    request = h11.Request(method="POST", target="/", headers=given)
    try:
        for part in (request, h11.Data(data=body), h11.EndOfMessage()):
            await stream.send_all(connection.send(part) or b"")
        status, said = 0, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(100))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                said += event.data
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        return None
    return status, said


async def _dial(proxy: Proxy) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", proxy.port)


# -- with a plan


@pytest.mark.parametrize(
    ("fault", "answer", "carried"),
    [
        (None, (201, b"number 1"), True),
        (Delay(), (201, b"number 1"), True),
        (CutBefore(), None, False),
        (CutAfter(), None, True),
        (Answer(503), (503, b""), False),
        (Answer(500, after_success=True, body=b"oh"), (500, b"oh"), True),
        (LandLate(), None, False),
    ],
    ids=str,
)
async def test_a_fault_decides_what_is_carried_out_and_what_is_answered(
    fault: Fault | None, answer: tuple[int, bytes] | None, carried: bool
) -> None:
    async with _counter(fault) as (counter, proxy):
        async with await _dial(proxy) as stream:
            assert await _post(stream, b"first") == answer
        assert counter.bodies == ([b"first"] if carried else [])
        assert proxy.seen == 1


async def test_one_connection_carries_many_requests_and_each_meets_its_own_fault() -> None:
    async with _counter(None, Answer(503), None) as (counter, proxy), await _dial(proxy) as stream:
        assert await _post(stream, b"one") == (201, b"number 1")
        assert await _post(stream, b"two") == (503, b"")
        assert await _post(stream, b"three" * 100_000) == (201, b"number 2")
        assert await _post(stream, b"four", ("expect", "100-continue")) == (201, b"number 3")
        assert counter.bodies == [b"one", b"three" * 100_000, b"four"]


async def test_a_late_request_lands_when_it_is_told_to_and_meets_what_is_there_then() -> None:
    async with _counter(LandLate(), None) as (counter, proxy):
        for body in (b"late", b"next"):
            async with await _dial(proxy) as stream:
                await _post(stream, body)
        assert counter.bodies == [b"next"]
        assert await proxy.land_late() == [201]
        assert counter.bodies == [b"next", b"late"]
        assert await proxy.land_late() == []


async def test_a_swallowed_answer_never_comes_although_the_request_was_carried_out(autojump_clock: object) -> None:
    async with _counter(Swallow()) as (counter, proxy), await _dial(proxy) as stream:
        with trio.move_on_after(1000) as waiting:
            await _post(stream, b"first")
        assert waiting.cancelled_caught
        assert counter.bodies == [b"first"]


async def test_a_held_request_is_carried_out_and_answered_when_it_is_released() -> None:
    async with _counter(Hold()) as (counter, proxy), await _dial(proxy) as stream, trio.open_nursery() as nursery:
        answers: list[tuple[int, bytes] | None] = []

        async def post() -> None:
            answers.append(await _post(stream, b"first"))

        nursery.start_soon(post)
        await _held(proxy, 1)
        proxy.release()
        await _held(proxy, 0)
        while not answers:
            await trio.sleep(0.001)
        assert answers == [(201, b"number 1")]
        assert counter.bodies == [b"first"]


async def test_a_held_request_is_carried_out_although_its_client_has_gone() -> None:
    async with _counter(Hold()) as (counter, proxy):
        with trio.move_on_after(0.05):
            async with await _dial(proxy) as stream:
                await _post(stream, b"first")
        await _held(proxy, 1)
        assert counter.bodies == []
        proxy.release()
        with trio.fail_after(5):
            while counter.bodies != [b"first"]:
                await trio.sleep(0.001)


async def _held(proxy: Proxy, number: int) -> None:
    with trio.fail_after(5):
        while proxy.held != number:
            await trio.sleep(0.001)


async def test_a_rule_decides_by_method_and_target_once_the_plan_is_used_up() -> None:
    async with _counter(Answer(418)) as (counter, proxy), await _dial(proxy) as stream:
        asked: list[tuple[str, str]] = []

        def rule(method: str, target: str) -> Fault | None:
            asked.append((method, target))
            return Answer(503) if len(asked) == 1 else None

        proxy.rule = rule
        assert await _post(stream, b"by plan") == (418, b"")
        assert await _post(stream, b"by rule") == (503, b"")
        assert await _post(stream, b"by rule") == (201, b"number 1")
        assert asked == [("POST", "/")] * 2
        assert counter.bodies == [b"by rule"]


async def test_a_delay_takes_its_time_before_and_after(autojump_clock: object) -> None:
    async with _counter(Delay(before_s=3, after_s=4)) as (_, proxy), await _dial(proxy) as stream:
        began = trio.current_time()
        assert await _post(stream, b"first") == (201, b"number 1")
        assert trio.current_time() - began == pytest.approx(7)


async def test_a_new_plan_replaces_what_was_left_of_the_old_one() -> None:
    async with _counter(*[CutBefore()] * 9) as (_, proxy):
        proxy.plan(Answer(418))
        async with await _dial(proxy) as stream:
            assert await _post(stream, b"") == (418, b"")
            assert await _post(stream, b"") == (201, b"number 1")


async def test_where_nobody_listens_the_client_is_cut() -> None:
    async with open_proxy(("127.0.0.1", 1), faults=()) as proxy, await _dial(proxy) as stream:
        assert await _post(stream, b"") is None


# -- for bytes of any protocol


async def _echoed(stream: trio.SocketStream, said: bytes) -> bytes:
    await stream.send_all(said)
    heard = b""
    while len(heard) < len(said) and (chunk := await stream.receive_some(65536)):
        heard += chunk
    return heard


async def test_bytes_go_both_ways_as_they_are_and_an_end_is_passed_on() -> None:
    said = bytes(range(256)) * 100
    async with _echo() as proxy, await _dial(proxy) as stream:
        assert await _echoed(stream, said) == said
        await stream.send_eof()
        assert await stream.receive_some() == b""
        assert proxy.seen == 1


async def test_cut_ends_every_connection_and_new_ones_are_served() -> None:
    async with _echo() as proxy:
        streams = [await _dial(proxy) for _ in range(3)]
        for stream in streams:
            assert await _echoed(stream, b"hello") == b"hello"
        proxy.cut()
        for stream in streams:
            async with stream:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
        async with await _dial(proxy) as stream:
            assert await _echoed(stream, b"hello") == b"hello"


async def test_away_hangs_up_on_new_connections_only() -> None:
    async with _echo() as proxy, await _dial(proxy) as early:
        assert await _echoed(early, b"hello") == b"hello"
        proxy.away = True
        async with await _dial(proxy) as late:
            assert await late.receive_some() == b""
        assert await _echoed(early, b"hello") == b"hello"


async def test_a_shut_proxy_refuses_new_connections_until_it_listens_at_the_same_port() -> None:
    async with _echo() as proxy, await _dial(proxy) as early:
        assert await _echoed(early, b"hello") == b"hello"
        for _ in range(3):
            await proxy.shut()
            with pytest.raises(OSError) as caught:
                await _dial(proxy)
            assert pytest.RaisesGroup(ConnectionRefusedError).matches(caught.value.__cause__)
            assert await _echoed(early, b"still") == b"still"
            await proxy.listen()
            async with await _dial(proxy) as late:
                assert await _echoed(late, b"hello") == b"hello"


async def test_held_bytes_move_on_when_it_resumes(autojump_clock: object) -> None:
    async with _echo() as proxy, await _dial(proxy) as stream:
        assert await _echoed(stream, b"hello") == b"hello"
        proxy.hold()
        await stream.send_all(b"again")
        with trio.move_on_after(1000) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught
        proxy.resume()
        assert await stream.receive_some() == b"again"


async def test_a_delay_counts_in_each_direction(autojump_clock: object) -> None:
    async with _echo() as proxy, await _dial(proxy) as stream:
        proxy.delay_s = 5
        began = trio.current_time()
        assert await _echoed(stream, b"hello") == b"hello"
        assert trio.current_time() - began == pytest.approx(10)
