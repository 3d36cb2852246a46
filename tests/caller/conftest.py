"""Servers that do as they are told, on real sockets, and a caller that asks them."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from sie.caller.answer import Answer
from sie.caller.caller import Caller
from sie.caller.limits import Limits
from sie.caller.origin import Origin

SOON_S = 5.0  # far more than anything here takes
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Talk = Callable[["Talking"], Awaitable[None]]


class Talking:
    """One connection, as a server has it. `number`: how many came before it."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._unread = b""

    async def hear(self) -> tuple[bytes, bytes]:
        """A request's head and body, or two times nothing at the end."""
        while b"\r\n\r\n" not in self._unread:
            if not await self._more():
                return b"", b""
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        body = b""
        if b"transfer-encoding: chunked" in head.lower():
            while True:
                while b"\r\n" not in self._unread:
                    await self._need()
                said, _, self._unread = self._unread.partition(b"\r\n")
                size = int(said, 16) + 2
                while len(self._unread) < size:
                    await self._need()
                body += self._unread[: size - 2]
                self._unread = self._unread[size:]
                if size == 2:
                    return head, body
        _, _, rest = head.lower().partition(b"content-length: ")
        size = int(rest.split(b"\r\n")[0] or b"0")
        while len(self._unread) < size:
            await self._need()
        body, self._unread = self._unread[:size], self._unread[size:]
        return head, body

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()

    def reset(self) -> None:
        """As a process that was killed."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.stream.socket.close()

    async def hung_up_on(self) -> None:
        """Return when the client has gone."""
        with suppress(trio.BrokenResourceError):
            while await self.stream.receive_some(65536):
                pass

    async def _need(self) -> None:
        if not await self._more():
            raise trio.BrokenResourceError

    async def _more(self) -> bool:
        piece = bytes(await self.stream.receive_some(65536))
        self._unread += piece
        return bool(piece)


Serve = Callable[..., Awaitable[Origin]]


@pytest.fixture
def serve(nursery: trio.Nursery) -> Serve:
    """`await serve(talk)`: who talks to each connection, which is closed after it."""

    async def served(talk: Talk, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Origin:
        count = iter(range(10**6))

        async def handle(stream: trio.SocketStream) -> None:
            number = next(count)
            said: trio.abc.Stream = trio.SSLStream(stream, tls, server_side=True) if tls is not None else stream
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await talk(Talking(said, number))
                await said.aclose()
            stream.socket.close()

        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        return Origin.of(f"http{'s' if tls else ''}://{name}:{listener.socket.getsockname()[1]}")

    return served


@asynccontextmanager
async def open_caller(tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[Caller]:
    """One that is looked after, and leaves nothing."""
    caller = Caller(Limits(**{"silence_s": SOON_S, **limits}), tls)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.sweep)
        try:
            yield caller
        finally:
            caller.close()
            nursery.cancel_scope.cancel(reason="the test is over")
    assert caller.connections == 0


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with open_caller() as opened:
        yield opened


async def body_of(answer: Answer) -> bytes:
    """All of it; then it is closed."""
    try:
        return b"".join([piece async for piece in answer])
    finally:
        answer.close()


async def ask(caller: Caller, origin: Origin, body: Any = b"", **said: Any) -> tuple[int, bytes]:
    with trio.fail_after(SOON_S * 2):
        answer = await caller.ask(origin, b"POST", b"/path", [(b"x-a", b"1")], body, **said)
        return answer.status, await body_of(answer)


def sockets() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(met: Callable[[], bool]) -> None:
    """For what has no event to wait on."""
    with trio.fail_after(SOON_S):
        while not met():
            await trio.sleep(0.005)
