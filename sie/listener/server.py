"""An ASGI app on listening sockets: accepting, looking after deadlines, stopping."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress

import trio

from sie.listener.asgi import ASGIApp
from sie.listener.connection import Connection
from sie.listener.limits import Limits
from sie.listener.watch import Watch, open_watch

log = logging.getLogger(__name__)

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_AT_A_TIME = 64


async def serve(  # noqa: ASYNC128 — said in the innermost nursery
    app: ASGIApp,
    listeners: Sequence[trio.SocketListener],
    *,
    stop: trio.Event,
    limits: Limits = Limits(),  # noqa: B008 — frozen
    server: str = "",
    watch: Watch | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer HTTP/1.1 and WebSockets with `app` on `listeners`, which are taken over and closed, until `stop`.

    The app is called with scopes `http` and `websocket`, never `lifespan`; when its client hangs up, it receives
    the disconnect if it waits for it, and is cancelled if not. `server` is what the header of that name says; without
    it there is none. Started when connections are accepted.

    After `stop` nothing new is accepted, idle connections are closed at once, requests in hand have `limits.grace_s`
    to be answered, and WebSockets are closed with code 1001; what is left then is cut. Cancelled: all are cut at once.
    """
    sockets = [socket.socket(fileno=one.socket.detach()) for one in listeners]
    connections = _Connections(app, limits, watch if watch is not None else open_watch(), server)
    try:
        async with trio.open_nursery() as looking:
            looking.start_soon(connections.watch.run)
            looking.start_soon(connections.sweep)
            async with trio.open_nursery() as serving:
                async with trio.open_nursery() as accepting:
                    for sock in sockets:
                        accepting.start_soon(connections.accept, sock, serving)
                    task_status.started()
                    await stop.wait()
                    accepting.cancel_scope.cancel(reason="stopping: no new connections")
                for sock in sockets:
                    sock.close()
                connections.finish()
                serving.cancel_scope.deadline = trio.current_time() + limits.grace_s
            looking.cancel_scope.cancel(reason="stopping: no connection is left")
    finally:
        connections.watch.close()
        for sock in sockets:
            sock.close()


class _Connections:
    """Those that are open."""

    def __init__(self, app: ASGIApp, limits: Limits, watch: Watch, server: str) -> None:
        self.watch = watch
        self._app = app
        self._limits = limits
        self._server = server.encode()
        self._open: set[Connection] = set()
        self._closed = trio.Event()

    async def accept(self, listening: socket.socket, nursery: trio.Nursery) -> None:
        """Until cancelled."""
        listening.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(listening)
            for _ in range(_AT_A_TIME):
                while len(self._open) >= self._limits.connections:
                    if self._closed.is_set():  # another socket's loop may wait for it too
                        self._closed = trio.Event()
                    await self._closed.wait()
                try:
                    sock, client = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno not in _EXHAUSTED:
                        continue  # this one is gone before it was accepted
                    log.error("no connection can be accepted: %s", error)
                    await trio.sleep(self._limits.accept_pause_s)
                    break
                self._begin(sock, client, nursery)

    async def sweep(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(self._limits.sweep_s)
            now = trio.current_time()
            for connection in tuple(self._open):
                connection.sweep(now)

    def finish(self) -> None:
        for connection in tuple(self._open):
            connection.finish()

    def _begin(self, sock: socket.socket, client: object, nursery: trio.Nursery) -> None:
        sock.setblocking(False)
        with suppress(OSError):  # a Unix socket has no such delay
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            address = _named(sock.getsockname())
        except OSError:  # it is gone, and has none any more
            sock.close()
            return
        connection = Connection(
            sock, _named(client), address, app=self._app, limits=self._limits, watch=self.watch, server=self._server
        )
        self._open.add(connection)
        nursery.start_soon(self._run, connection)

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            self._closed.set()


def _named(address: object) -> tuple[str, int] | None:
    """Of an IPv4 or IPv6 address; a Unix socket has none."""
    return (address[0], address[1]) if isinstance(address, tuple) else None
