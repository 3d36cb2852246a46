"""Who has something to read, and who has gone: told to each connection without a task of its own, where Linux can."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable
from typing import Protocol

import trio

# Told from the watch's task: whether the peer has ended its sending. It is readable in any case, and must not raise.
Ready = Callable[[bool], None]


class Watch(Protocol):
    """Tells each socket's `Ready` when bytes arrive, and when the peer hangs up, even if nobody reads."""

    async def run(self) -> None:
        """Until cancelled. Nobody is told anything unless it runs."""

    def add(self, sock: socket.socket, ready: Ready) -> None:
        """Tell `ready` from now on, beginning with what is there already."""

    def drained(self, sock: socket.socket) -> None:
        """The socket has been read to where it blocks: tell of the next bytes."""

    def remove(self, sock: socket.socket) -> None:
        """Tell nothing more. To be called before the socket is closed, its number being used again."""

    def close(self) -> None:
        """When it no longer runs and every socket is removed."""


def open_watch() -> Watch:
    """The best one of this system."""
    return EdgeWatch() if sys.platform == "linux" else PeekWatch()


if sys.platform == "linux":
    _GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

    class EdgeWatch:
        """One task and one epoll for all, registered once for each connection: no work for each request."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._ready: dict[int, Ready] = {}

        async def run(self) -> None:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for number, events in self._epoll.poll(0):
                    self._ready[number](bool(events & _GONE))

        def add(self, sock: socket.socket, ready: Ready) -> None:
            self._ready[sock.fileno()] = ready
            self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

        def drained(self, sock: socket.socket) -> None:
            pass  # an edge comes by itself

        def remove(self, sock: socket.socket) -> None:
            del self._ready[sock.fileno()]
            self._epoll.unregister(sock.fileno())

        def close(self) -> None:
            self._epoll.close()


class PeekWatch:
    """A task for each connection, which looks at the next byte: for any system. A peer's end behind bytes that nobody
    reads is seen when they have been read."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._peeks: dict[int, _Peek] = {}

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def add(self, sock: socket.socket, ready: Ready) -> None:
        peek = self._peeks[sock.fileno()] = _Peek(sock, ready)
        if self._nursery is not None and not self._nursery.cancel_scope.cancel_called:
            self._nursery.start_soon(peek.run)

    def drained(self, sock: socket.socket) -> None:
        self._peeks[sock.fileno()].drained.set()

    def remove(self, sock: socket.socket) -> None:
        self._peeks.pop(sock.fileno()).scope.cancel(reason="the connection is closed")

    def close(self) -> None:
        pass


class _Peek:
    def __init__(self, sock: socket.socket, ready: Ready) -> None:
        self.scope = trio.CancelScope()
        self.drained = trio.Event()
        self._sock = sock
        self._ready = ready

    async def run(self) -> None:
        with self.scope:
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                try:
                    gone = not self._sock.recv(1, socket.MSG_PEEK)
                except BlockingIOError:
                    continue
                except OSError:
                    gone = True
                self.drained = trio.Event()
                self._ready(gone)
                if gone:
                    return
                await self.drained.wait()
