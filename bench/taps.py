"""Observers beside a running cluster: when each change is seen on its way, with no word of code in what is observed.

`python -m bench.taps NATS_HOST:PORT ROUTER_URL WORKER_URL...`: stamps what arrives from NATS, the router's watch and
each worker's status, and speaks their protocols by hand, so that a stamp costs a read and nothing else. Told a
revision, it answers with when each of them first showed it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
import time
from collections import defaultdict
from urllib.parse import urlsplit

import trio

from bench.child import say
from bench.orders import obey

_PATIENCE_S = 10
_ENTRY = re.compile(rb"event: entry\nid: [^:\n]*:(\d+)\n")
_CHUNK = 65536


class Sightings:
    """Which revision was first seen where, and when, in ns of the monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, int]] = defaultdict(dict)
        self._highest: dict[str, int] = {}
        self._changed = trio.Event()

    def note(self, where: str, revision: int, at: int) -> None:
        """It and, where statuses skip some, every revision between the last one seen there and it."""
        for one in range(self._highest.get(where, revision - 1) + 1, revision + 1):
            self._seen[one][where] = at
        self._highest[where] = max(revision, self._highest.get(where, 0))
        self._changed.set()
        self._changed = trio.Event()

    async def tell(self, revision: str, places: int) -> None:
        """Where it has been seen, once that is everywhere, or patience has run out."""
        with trio.move_on_after(_PATIENCE_S):
            while len(self._seen[int(revision)]) < places:
                await self._changed.wait()
        say(**self._seen.pop(int(revision)))


async def dial(address: str, *lines: str) -> trio.SocketStream:
    """A connection on which these lines of HTTP have been sent."""
    place = urlsplit(address)
    stream = await trio.open_tcp_stream(place.hostname or "", place.port or 80)
    await stream.send_all("\r\n".join([*lines, f"Host: {place.netloc}", "", ""]).encode())
    return stream


async def dial_nats(address: str) -> trio.SocketStream:
    """A connection that hears of every change from now on."""
    host, _, port = address.rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB sie.config.models.* 1\r\nPING\r\n')
    heard = b""
    while b"PONG\r\n" not in heard:
        heard += await stream.receive_some(_CHUNK)
    return stream


async def tap_nats(stream: trio.SocketStream, seen: Sightings) -> None:
    unread = b""
    while piece := await stream.receive_some(_CHUNK):
        at = time.monotonic_ns()
        unread += piece
        while b"\r\n" in unread:
            line, _, rest = unread.partition(b"\r\n")
            if line.startswith(b"MSG"):
                size = int(line.split()[-1])
                if len(rest) < size + 2:
                    break
                seen.note("published", json.loads(rest[:size])["epoch"], at)
                rest = rest[size + 2 :]
            elif line == b"PING":
                await stream.send_all(b"PONG\r\n")
            unread = rest


async def tap_watch(stream: trio.SocketStream, seen: Sightings) -> None:
    unread = b""
    while piece := await stream.receive_some(_CHUNK):
        at = time.monotonic_ns()
        unread = (unread + piece)[-_CHUNK:]
        for found in _ENTRY.finditer(unread):
            seen.note("committed", int(found[1]), at)


async def tap_status(stream: trio.SocketStream, where: str, seen: Sightings) -> None:
    unread = b""
    while b"\r\n\r\n" not in unread:
        unread += await stream.receive_some(_CHUNK)
    unread = unread.partition(b"\r\n\r\n")[2]
    while piece := await stream.receive_some(_CHUNK):
        at = time.monotonic_ns()
        unread += piece
        while (found := _frame(unread)) is not None:
            content, unread = found
            seen.note(where, json.loads(content)["config_revision"], at)


def _frame(unread: bytes) -> tuple[bytes, bytes] | None:
    """A server's unmasked text frame of less than 64 KiB, and what follows it; None if it is not all there yet."""
    if len(unread) < 4:
        return None
    head, size = (4, int.from_bytes(unread[2:4], "big")) if unread[1] == 126 else (2, unread[1])
    return (unread[head : head + size], unread[head + size :]) if len(unread) >= head + size else None


async def main(nats: str, router: str, workers: list[str]) -> None:
    seen = Sightings()
    upgrade = (
        "GET /ws/status HTTP/1.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tap_nats, await dial_nats(nats), seen)
        nursery.start_soon(tap_watch, await dial(router, "GET /v1/configs/watch HTTP/1.1"), seen)
        for number, worker in enumerate(workers):
            nursery.start_soon(tap_status, await dial(worker, *upgrade), f"applied {number}", seen)
        await trio.sleep(0.5)  # each of them has answered by then; a change that is missed is waited for, and told of
        say(ready=True)
        await obey(lambda order: seen.tell(order, 2 + len(workers)))
        nursery.cancel_scope.cancel(reason="told to end")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])
