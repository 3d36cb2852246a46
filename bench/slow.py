"""A child: clients that take their time. `python -m bench.slow HOST PORT COUNT`: told `begin`, that many read a large
answer and as many send a large request, a little at a time; told `end`, they hang up. It says how many were served on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import msgpack
import trio

from bench.child import say
from bench.orders import obey
from bench.texts import MODEL

_PAUSE_S = 0.05
_BIT = 1024
_BODY_BYTES = 8_000_000  # a request that is never sent to its end
_ITEMS = 4000  # 6 MB of vectors: more than any buffer on the way
_BUFFER = 16 * 1024


class SlowClients:
    """So many of each kind, while they are let."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self._place = (host, port)
        self._count = count
        self._scope = trio.CancelScope()
        self._alive = 0
        self._under_way = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until `end`. Started when each has begun: an answer has come in part, a request was sent in part."""
        self._alive = self._under_way = 0
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                for _ in range(self._count):
                    nursery.start_soon(self._client, _wanting_much(), True)
                    nursery.start_soon(self._client, _promising_much(), False)
                while self._under_way < 2 * self._count:
                    await trio.sleep(0.01)
                task_status.started()

    def end(self) -> int:
        """Hang up; returns how many had been served until then."""
        self._scope.cancel(reason="told to end")
        return self._alive

    async def _client(self, pieces: Iterator[bytes], reads: bool) -> None:
        sock = trio.socket.socket()
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, _BUFFER)  # or the kernel reads for us
        await sock.connect(self._place)
        async with trio.SocketStream(sock) as stream:
            await stream.send_all(next(pieces))
            self._alive += 1
            try:
                if reads:
                    await self._read(stream)
                else:
                    await self._write(stream, pieces)
            except trio.BrokenResourceError:
                pass
            self._alive -= 1

    async def _read(self, stream: trio.SocketStream) -> None:
        begun = False
        while await stream.receive_some(_BIT):
            self._under_way += not begun
            begun = True
            await trio.sleep(_PAUSE_S)

    async def _write(self, stream: trio.SocketStream, pieces: Iterator[bytes]) -> None:
        self._under_way += 1
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(_PAUSE_S)


def _wanting_much() -> Iterator[bytes]:
    body = msgpack.packb({"items": [{"text": "a"}] * _ITEMS})
    yield _head(len(body)) + body


def _promising_much() -> Iterator[bytes]:
    yield _head(_BODY_BYTES)
    while True:
        yield b" " * _BIT


def _head(length: int) -> bytes:
    lines = [f"POST /v1/encode/{MODEL} HTTP/1.1", "host: bench", "content-type: application/msgpack"]
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()


async def main(arguments: Sequence[str]) -> None:
    host, port, count = arguments
    clients = SlowClients(host, int(port), int(count))
    async with trio.open_nursery() as nursery:

        async def carry_out(order: str) -> None:
            if order == "begin":
                await nursery.start(clients.run)
                say(begun=True)
            else:
                say(alive=clients.end())

        say(ready=True)
        await obey(carry_out)
        nursery.cancel_scope.cancel(reason="told to end")


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
