"""What is sent, what comes back, and which connection carries it."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing

from sie.caller.caller import Caller
from sie.caller.faults import Silent, Stale, Unreachable
from sie.caller.origin import Origin
from sie.testing.steps import Trial, cancel_at_every_step
from tests.caller.conftest import OK, SOON_S, Serve, Talking, ask, body_of, open_caller, sockets, until


async def answer_all(talking: Talking) -> None:
    while (await talking.hear())[0]:
        await talking.say(OK)


async def pieces(*given: bytes) -> AsyncGenerator[bytes, None]:  # noqa: ASYNC900
    for piece in given:
        await trio.lowlevel.checkpoint()
        yield piece


async def test_a_request_arrives_as_it_was_meant(serve: Serve, caller: Caller) -> None:
    heard: list[tuple[bytes, bytes]] = []

    async def note(talking: Talking) -> None:
        while (asked := await talking.hear())[0]:
            heard.append(asked)
            await talking.say(OK)

    origin = await serve(note)
    assert await ask(caller, origin, b"body") == (200, b"hello")
    assert await ask(caller, origin, pieces(b"in ", b"", b"pieces")) == (200, b"hello")
    assert await ask(caller, origin, pieces(b"of a ", b"length"), length=11) == (200, b"hello")
    large = bytes(range(256)) * 40_000
    assert await ask(caller, origin, large) == (200, b"hello")
    first, second, third, fourth = heard
    assert first == (
        b"POST /path HTTP/1.1\r\nhost: %b\r\ncontent-length: 4\r\nx-a: 1" % origin.authority,
        b"body",
    )
    assert (b"transfer-encoding: chunked" in second[0], second[1]) == (True, b"in pieces")
    assert (b"content-length: 11" in third[0], third[1]) == (True, b"of a length")
    assert fourth[1] == large
    assert caller.connections == 1


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET", b"/a b", []),
        (b"GET", b"/a\r\nx: 1", []),
        (b"GET", b"", []),
        (b"GE T", b"/", []),
        (b"GET", b"/", [(b"a", b"b\r\nc: d")]),
        (b"GET", b"/", [(b"a", b"b\nc: d")]),
        (b"GET", b"/", [(b"a", b"\0")]),
        (b"GET", b"/", [(b"a:", b"b")]),
        (b"GET", b"/", [(b"a\r\n", b"b")]),
        (b"GET", b"/", [(b"Content-Length", b"5")]),
        (b"GET", b"/", [(b"host", b"x")]),
        (b"GET", b"/", [(b"transfer-encoding", b"chunked")]),
    ],
)
async def test_what_would_be_another_request_is_not_sent(
    caller: Caller, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(ValueError):
        await caller.ask(Origin.of("http://127.0.0.1:1"), method, target, headers)


async def test_a_body_that_has_not_the_length_that_was_said_is_an_error(serve: Serve, caller: Caller) -> None:
    origin = await serve(answer_all)
    for given in ((b"too", b"much"), (b"les",)):
        with pytest.raises(ValueError):
            await ask(caller, origin, pieces(*given), length=5)
    assert caller.connections == 0


async def test_what_iterating_the_body_raises_is_raised_bare(serve: Serve, caller: Caller) -> None:
    heard: list[bytes] = []

    async def listen(talking: Talking) -> None:
        heard.append(bytes(await talking.stream.receive_some()))
        await talking.hung_up_on()
        heard.append(b"hung up")

    async def fails() -> AsyncIterator[bytes]:  # noqa: ASYNC900
        yield b"a piece"
        await until(lambda: bool(heard))
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await ask(caller, await serve(listen), fails())
    await until(lambda: heard[-1] == b"hung up")
    assert caller.connections == 0


async def test_connections_are_used_again_and_are_as_many_as_requests_at_a_time(serve: Serve, caller: Caller) -> None:
    together = trio.Event()
    waiting: list[int] = []
    numbers: list[int] = []

    async def hold(talking: Talking) -> None:
        while (await talking.hear())[0]:
            numbers.append(talking.number)
            waiting.append(talking.number)
            if len(waiting) == 20:
                together.set()
            await together.wait()
            await talking.say(OK)

    origin = await serve(hold)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, caller, origin)
    assert (sorted(numbers), caller.connections) == (list(range(20)), 20)
    for _ in range(5):
        await ask(caller, origin)
    assert (len(set(numbers)), caller.connections) == (20, 20)


async def test_an_idle_connection_is_closed_in_time(serve: Serve) -> None:
    ended = trio.Event()

    async def listen(talking: Talking) -> None:
        await answer_all(talking)
        ended.set()

    async with open_caller(keep_alive_s=0.05) as caller:
        await ask(caller, await serve(listen))
        assert caller.connections == 1
        with trio.fail_after(SOON_S):
            await ended.wait()
        assert caller.connections == 0


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used_again(
    serve: Serve, caller: Caller
) -> None:
    closed = trio.Event()

    async def close_after_one(talking: Talking) -> None:
        await talking.hear()
        await talking.say(OK)
        await talking.stream.aclose()
        closed.set()

    origin = await serve(close_after_one)
    for _ in range(3):
        assert await ask(caller, origin) == (200, b"hello")
        await closed.wait()
        closed = trio.Event()


@pytest.mark.parametrize("reset", [True, False])
async def test_one_that_is_closed_as_it_is_used_again_is_stale_and_a_fresh_one_is_not(
    serve: Serve, caller: Caller, reset: bool
) -> None:
    async def close_at_the_second(talking: Talking) -> None:
        await talking.hear()
        if talking.number == 0:
            await talking.say(OK)
            await talking.hear()
            if reset:
                talking.reset()
        elif talking.number == 1:
            await talking.say(OK)

    origin = await serve(close_at_the_second)
    await ask(caller, origin)
    with pytest.raises(Stale):
        await ask(caller, origin)
    assert await ask(caller, origin) == (200, b"hello")
    with pytest.raises(Unreachable) as failed:  # never used before
        await ask(caller, origin, fresh=True)
    assert not isinstance(failed.value, Stale)


async def test_a_fresh_connection_is_one_that_was_not_used(serve: Serve, caller: Caller) -> None:
    origin = await serve(answer_all)
    await ask(caller, origin)
    await ask(caller, origin, fresh=True)
    assert caller.connections == 2


async def test_an_answer_before_the_upload_is_sent_is_given_at_once_and_the_rest_is_not_taken(
    serve: Serve, caller: Caller
) -> None:
    """Then the connection is closed."""
    gone = trio.Event()
    taken: list[int] = []

    async def refuse(talking: Talking) -> None:
        await talking.stream.receive_some(10)
        await talking.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\n", b"too")
        await talking.hung_up_on()
        gone.set()

    async def endless() -> AsyncGenerator[bytes, None]:  # noqa: ASYNC900
        while True:
            taken.append(1)
            await trio.lowlevel.checkpoint()
            yield b"x" * 1000

    origin = await serve(refuse)
    async with aclosing(endless()) as body:
        assert await ask(caller, origin, body) == (413, b"too")
        before = len(taken)
        with trio.fail_after(SOON_S):
            await gone.wait()
    assert (len(taken), caller.connections) == (before, 0)
    assert await ask(caller, origin, b"x" * 30_000_000) == (413, b"too")  # more than any buffer takes


async def test_a_server_that_answers_and_closes_without_reading_is_heard(serve: Serve, caller: Caller) -> None:
    async def refuse(talking: Talking) -> None:
        await talking.say(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy")
        assert isinstance(talking.stream, trio.SocketStream)
        await talking.stream.send_eof()
        await talking.hung_up_on()

    assert await ask(caller, await serve(refuse), b"x" * 10_000_000) == (503, b"busy")


async def test_a_server_that_takes_nothing_is_silent(serve: Serve) -> None:
    async def stand_still(talking: Talking) -> None:
        await trio.sleep_forever()

    async with open_caller(silence_s=0.1) as caller:
        origin = await serve(stand_still)
        for body in (b"", b"x" * 30_000_000, pieces(*[b"x" * 1_000_000] * 30)):
            with pytest.raises(Silent):
                await ask(caller, origin, body)
        assert caller.connections == 0


async def test_a_slow_upload_is_not_the_servers_silence(serve: Serve) -> None:
    async def slowly() -> AsyncIterator[bytes]:  # noqa: ASYNC900
        for _ in range(4):
            await trio.sleep(0.1)
            yield b"x"

    async with open_caller(silence_s=0.2) as caller:
        assert await ask(caller, await serve(answer_all), slowly()) == (200, b"hello")


async def test_after_the_upload_silence_is_counted(serve: Serve) -> None:
    async def listen(talking: Talking) -> None:
        await talking.hear()
        await trio.sleep_forever()

    async with open_caller(silence_s=0.1) as caller:
        with pytest.raises(Silent):
            await ask(caller, await serve(listen), pieces(b"a", b"b"))


@pytest.mark.parametrize("where", ["http://127.0.0.1:1", "http://no-such-host.invalid:80", "http://" + "a" * 70 + ":1"])
async def test_nobody_there_is_unreachable(caller: Caller, where: str) -> None:
    with pytest.raises(Unreachable):
        await ask(caller, Origin.of(where))


async def test_connecting_takes_no_longer_than_it_may() -> None:
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(4):  # the kernel's queue is full then, and who knocks gets no answer
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            with suppress(BlockingIOError):
                knocking.connect(address)
        async with open_caller(connect_s=0.1) as caller:
            with pytest.raises(Unreachable):
                await ask(caller, Origin.of(f"http://127.0.0.1:{address[1]}"))


async def test_closing_the_caller_hangs_up_on_all(serve: Serve) -> None:
    begun, ended = trio.Event(), trio.Event()

    async def listen(talking: Talking) -> None:
        await talking.hear()
        begun.set()
        await talking.hung_up_on()
        ended.set()

    origin = await serve(listen)
    async with open_caller() as caller, trio.open_nursery() as nursery:

        async def waits() -> None:
            with pytest.raises(Unreachable):
                await ask(caller, origin)

        nursery.start_soon(waits)
        await begun.wait()
        caller.close()
        with trio.fail_after(SOON_S):
            await ended.wait()
    assert caller.connections == 0
    with pytest.raises(Unreachable):
        await ask(caller, origin)


async def test_cancelling_hangs_up_and_leaves_nothing(serve: Serve, caller: Caller) -> None:
    ended: list[int] = []

    async def begin(talking: Talking) -> None:
        await talking.stream.receive_some()
        if talking.number % 2:
            await talking.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await talking.hung_up_on()
        ended.append(talking.number)

    async def endless() -> AsyncGenerator[bytes, None]:  # noqa: ASYNC900
        while True:
            await trio.lowlevel.checkpoint()
            yield b"x" * 1000

    origin = await serve(begin)
    before = sockets()
    for number in range(6):
        body = b"whole" if number < 4 else endless()
        with trio.move_on_after(0.05):
            await ask(caller, origin, body)
        assert caller.connections == 0
        await until(partial(lambda number: len(ended) == number + 1, number))
    await until(lambda: sockets() == before)


async def test_cancelled_at_every_step_it_is_well_the_next_time(serve: Serve) -> None:
    origin = await serve(answer_all)
    async with open_caller() as caller:

        @asynccontextmanager
        async def world() -> AsyncIterator[Trial]:
            async def act() -> None:
                assert await ask(caller, origin, b"body") == (200, b"hello")
                given = pieces(b"a", b"b")
                try:
                    assert await ask(caller, origin, given) == (200, b"hello")
                finally:
                    with trio.CancelScope(shield=True):
                        await given.aclose()

            async def check(_: object) -> None:
                await act()
                assert caller.connections == 1

            yield Trial(act=act, check=check)

        assert await cancel_at_every_step(world, whose="own", seed=1) > 0


async def test_reading_an_answer_that_was_closed_is_an_error(serve: Serve, caller: Caller) -> None:
    async def half(talking: Talking) -> None:
        await talking.hear()
        await talking.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await talking.hung_up_on()

    answer = await caller.ask(await serve(half), b"GET", b"/")
    answer.close()
    answer.close()
    with pytest.raises(trio.ClosedResourceError):
        await body_of(answer)
    assert caller.connections == 0
