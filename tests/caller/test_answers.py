"""Answers as servers give them: well, badly, slowly, in pieces, and what may follow on their connection."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from sie.caller.caller import Caller
from sie.caller.faults import BrokenOff, CallFault, Silent, Unreachable
from sie.caller.limits import KIB, Limits
from sie.caller.parser import Parser
from tests.caller.conftest import OK, SOON_S, Serve, Talk, Talking, ask, body_of, open_caller

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def saying(*said: bytes, close: bool = False) -> Talk:
    """A server that says this to every request."""

    async def talk(talking: Talking) -> None:
        while (await talking.hear())[0]:
            await talking.say(*said)
            if close:
                return

    return talk


GOOD = {
    "a length": (OK, True),
    "chunks": (CHUNKED + b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n", True),
    "interim answers": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, True),
    "no reason": (OK.replace(b" OK", b""), True),
    "close": (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
    "HTTP/1.0": (OK.replace(b"1.1", b"1.0"), False),
    "HTTP/1.0 kept": (OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), False),
    "an offer to upgrade": (OK.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), False),
    "bytes after it": (OK + b"x", False),
    "another answer after it": (OK + OK, False),
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_answer_and_whether_another_request_may_follow(serve: Serve, caller: Caller, name: str) -> None:
    said, again = GOOD[name]
    for pieces in ([said], [said[at : at + 1] for at in range(len(said))]):
        origin = await serve(saying(*pieces))
        assert await ask(caller, origin, b"x") == (200, b"hello")
        if len(pieces) == 1:
            assert caller.connections == again
        await trio.sleep(0.02)  # what comes later, and was not asked for, is found if it is there before the next
        assert await ask(caller, origin, b"x") == (200, b"hello")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"])
async def test_a_body_may_end_with_its_connection(serve: Serve, caller: Caller, head: bytes) -> None:
    origin = await serve(saying(head, b"hel", b"lo", close=True))
    assert await ask(caller, origin) == (200, b"hello")
    assert caller.connections == 0


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_ends_with_its_head_whatever_that_says(
    serve: Serve, caller: Caller, status: int
) -> None:
    origin = await serve(saying(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status))
    for _ in range(2):
        assert await ask(caller, origin) == (status, b"")
    assert caller.connections == 1


async def test_the_answer_to_head_has_no_body(serve: Serve, caller: Caller) -> None:
    origin = await serve(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
    for _ in range(2):
        answer = await caller.ask(origin, b"HEAD", b"/")
        assert (answer.status, answer.whole, answer.headers) == (200, b"", [(b"content-length", b"5")])
    assert caller.connections == 0


async def test_an_answer_that_is_here_at_once_is_whole_and_can_be_iterated_too(serve: Serve, caller: Caller) -> None:
    origin = await serve(saying(OK))
    answer = await caller.ask(origin, b"GET", b"/")
    assert answer.whole == b"hello"
    assert await body_of(answer) == b"hello"
    origin = await serve(saying(OK[:-2], OK[-2:]))
    answer = await caller.ask(origin, b"GET", b"/")
    assert answer.whole is None
    assert await body_of(answer) == b"hello"


NO_HEAD = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "only an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2": OK.replace(b"1.1", b"2.0"),
    "no status": b"HTTP/1.1 abc OK\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "no number": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "a length and chunks": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"5\r\nhello\r\n0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": CHUNKED.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"0\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 201 + b"\r\n",
    "a header that is too large": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70 * KIB + b"\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200 * KIB,
    "interim answers without end": b"HTTP/1.1 102 Soon\r\n\r\n" * 20_000,
}


@pytest.mark.parametrize("name", NO_HEAD)
async def test_what_is_no_answer_is_unreachable(serve: Serve, caller: Caller, name: str) -> None:
    origin = await serve(saying(NO_HEAD[name], close=True))
    with pytest.raises(Unreachable):
        await ask(caller, origin, b"x")
    assert caller.connections == 0


async def test_a_reset_before_an_answer_is_unreachable(serve: Serve, caller: Caller) -> None:
    async def reset(talking: Talking) -> None:
        await talking.hear()
        talking.reset()

    with pytest.raises(Unreachable):
        await ask(caller, await serve(reset), b"x")


NO_BODY = {
    "short of its length": OK[:-1],
    "in the middle of a chunk": CHUNKED + b"5\r\nhel",
    "without the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "no chunk": CHUNKED + b"5\r\nhello\r\nxyz\r\n",
    "a chunk longer than it says": CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "framing without content": CHUNKED + b"1;" + b"x" * 300 * KIB + b"\r\na\r\n0\r\n\r\n",
    "trailers without end": CHUNKED + b"0\r\n" + b"A: b\r\n" * 50_000,
}


@pytest.mark.parametrize("name", NO_BODY)
async def test_a_body_that_breaks_off_is_told_from_one_that_ends(serve: Serve, caller: Caller, name: str) -> None:
    said = NO_BODY[name]
    head, _, body = said.partition(b"\r\n\r\n")
    origin = await serve(saying(head + b"\r\n\r\n", body, close=True))
    with pytest.raises(BrokenOff):
        await ask(caller, origin, b"x")
    assert caller.connections == 0


async def test_a_reset_in_the_body_breaks_it_off(serve: Serve, caller: Caller) -> None:
    async def reset(talking: Talking) -> None:
        await talking.hear()
        await talking.say(OK[:-3])
        talking.reset()

    with pytest.raises(BrokenOff):
        await ask(caller, await serve(reset), b"x")


async def test_silence_in_head_and_body_is_told(serve: Serve) -> None:
    async with open_caller(silence_s=0.1) as caller:
        for said in (b"", OK[:20], OK[:-2], CHUNKED):

            async def stall(talking: Talking, said: bytes) -> None:
                await talking.hear()
                await talking.say(said)
                await trio.sleep_forever()

            origin = await serve(lambda talking, said=said: stall(talking, said))
            with pytest.raises(Silent):
                await ask(caller, origin, b"x")
        assert caller.connections == 0


async def test_an_answer_that_drips_steadily_is_read(serve: Serve) -> None:
    async def drip(talking: Talking) -> None:
        await talking.hear()
        for at in range(0, len(OK), 4):
            await talking.stream.send_all(OK[at : at + 4])
            await trio.sleep(0.02)

    async with open_caller(silence_s=0.2) as caller:
        assert await ask(caller, await serve(drip)) == (200, b"hello")


async def test_no_more_is_read_than_is_asked_for(serve: Serve, caller: Caller) -> None:
    """A server that sends without end is stopped by its own socket."""
    sent = 0
    stopped = trio.Event()

    async def flood(talking: Talking) -> None:
        nonlocal sent
        await talking.hear()
        await talking.say(CHUNKED)
        while True:
            with trio.move_on_after(0.5) as waiting:
                await talking.stream.send_all(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            if waiting.cancelled_caught:
                stopped.set()
                return
            sent += 0x10000

    answer = await caller.ask(await serve(flood), b"GET", b"/")
    with trio.fail_after(SOON_S * 2):
        await anext(answer)
        await stopped.wait()
    assert sent < 30_000_000  # what two sockets hold
    answer.close()


async def test_twenty_megabytes_come_whole(serve: Serve, caller: Caller) -> None:
    content = bytes(range(256)) * 80_000
    origin = await serve(saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content))
    for _ in range(2):
        assert (await ask(caller, origin))[1] == content
    assert caller.connections == 1


# -- however the bytes are cut


def parsed(pieces: Sequence[bytes], ended: bool) -> tuple[object, ...]:
    """What comes out, as far as a fault does not stop it."""
    parser = Parser(Limits(head_bytes=KIB, headers=20))
    parser.begin(has_body=True)
    for piece in pieces:
        if parser.complete or parser.fault is not None:
            parser.reusable = False
            break
        parser.feed(piece)
    if ended and not parser.complete and parser.fault is None:
        parser.end()
    body = b"".join(parser.pieces)
    whole = parser.complete and parser.fault is None
    return parser.status, parser.headers if parser.status else [], body if whole else None, whole


ANSWERS = [said for said, _ in GOOD.values()] + [
    OK[:-1],
    CHUNKED + b"5\r\nhello\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 204 None\r\n\r\n",
]


@given(st.sampled_from(ANSWERS), st.integers(0, 10**9), st.integers(0, 3))
def test_however_an_answer_is_cut_it_is_the_same(said: bytes, seed: int, mutations: int) -> None:
    chance = random.Random(seed)
    mutated = bytearray(said)
    for _ in range(mutations):
        at = chance.randrange(len(mutated))
        match chance.randrange(3):
            case 0:
                mutated[at] = chance.randrange(256)
            case 1:
                del mutated[at]
            case _:
                mutated.insert(at, chance.choice(b"\r\n :0x\0"))
    content = bytes(mutated)
    cuts = sorted(chance.randrange(len(content) + 1) for _ in range(chance.randrange(8)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True) if a < b]
    assert parsed(pieces, ended=True) == parsed([content], ended=True)


async def test_any_bytes_give_an_answer_or_a_fault_of_ours(serve: Serve, caller: Caller) -> None:
    chance = random.Random(5)
    said = b""

    async def talk(talking: Talking) -> None:
        await talking.hear()
        await talking.stream.send_all(said)

    origin = await serve(talk)
    for _ in range(150):
        mutated = bytearray(chance.choice(ANSWERS))
        for _ in range(chance.randrange(1, 5)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        said = bytes(mutated)
        with suppress(CallFault):
            await ask(caller, origin)
    assert caller.connections <= 1
