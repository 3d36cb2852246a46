"""An ASGI app on a port, in the caller's nursery: hypercorn's protocols, our own accepting, deadlines and stop."""

from __future__ import annotations

import logging
import sys
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import repr_socket_addr, wrap_app

from sie.errors import ConfigurationError
from sie.http.connection import Connection, Patience
from sie.settings import Settings

log = logging.getLogger("sie.http")

MOST_PORT = 65_535


async def serve_app(  # noqa: ASYNC128 — said in the innermost nursery
    app: ASGIFramework,
    settings: Settings,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on `settings.host` and `settings.port` until `stop`; 0 takes a free port. Started with `http://host:port`.

    After `stop` nothing new is accepted, idle connections are closed, and requests in work have `settings.grace_s`
    to be answered; then they are cut. Cancelled: all are cut at once.
    Raises ConfigurationError if the address cannot be had.
    """
    listeners = await _listen(settings.host, settings.port)
    config = _config(settings)
    state: LifespanState = {}
    lifespan = Lifespan(wrap_app(app, 0, "asgi"), config, state)
    connections = _Connections(app, config, state, settings)
    try:
        async with trio.open_nursery() as lifespan_nursery:
            await lifespan_nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            await connections.serve(listeners, stop=stop, task_status=task_status)
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel(reason="stopping: the app has shut down")
    finally:
        for listener in listeners:
            listener.socket.close()


class _Connections:
    """Those that are open, and the end of them."""

    def __init__(self, app: ASGIFramework, config: Config, state: LifespanState, settings: Settings) -> None:
        self._app = wrap_app(app, 0, "asgi")
        self._config = config
        self._context = WorkerContext(None)
        self._state = state
        self._patience = Patience(
            keep_alive_s=settings.keep_alive_s,
            header_s=settings.header_s,
            write_stall_s=settings.write_stall_s,
            linger_s=settings.linger_s,
        )
        self._grace_s = settings.grace_s
        self._open: set[Connection] = set()
        self._closed = trio.Event()

    async def serve(
        self, listeners: list[trio.SocketListener], *, stop: trio.Event, task_status: trio.TaskStatus[str]
    ) -> None:
        async with trio.open_nursery() as nursery:
            try:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(
                        partial(trio.serve_listeners, self._connect, listeners, handler_nursery=nursery)
                    )
                    task_status.started(_address(listeners[0]))
                    await stop.wait()
                    accepting.cancel_scope.cancel(reason="stopping: no new connections")
                with trio.move_on_after(self._grace_s):
                    await self._finish()
            finally:
                # Before the nursery waits for them: a send is shielded, and only its socket's end ends it.
                for connection in tuple(self._open):
                    connection.cut()
            nursery.cancel_scope.cancel(reason="stopping: the grace period is over")

    async def _connect(self, stream: trio.SocketStream) -> None:
        connection = Connection(
            stream,
            app=self._app,
            config=self._config,
            context=self._context,
            state=self._state,
            patience=self._patience,
        )
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            self._closed.set()

    async def _finish(self) -> None:
        """Returns when the last one has ended by itself. Cancelled: those left are still open."""
        await self._context.terminated.set()
        for connection in tuple(self._open):
            connection.finish()
        while self._open:
            self._closed = trio.Event()
            await self._closed.wait()


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    if port > MOST_PORT:  # the resolver would take another in its place
        raise ConfigurationError(f"cannot listen on {host}:{port} (SIE_HOST, SIE_PORT): ports end at {MOST_PORT}")
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except (OSError, OverflowError, UnicodeError) as fault:
        raise ConfigurationError(f"cannot listen on {host}:{port} (SIE_HOST, SIE_PORT): {fault}") from None


def _address(listener: trio.SocketListener) -> str:
    return f"http://{repr_socket_addr(listener.socket.family, listener.socket.getsockname())}"


def _config(settings: Settings) -> Config:
    """What hypercorn's protocols look at; accepting and waiting are not theirs here."""
    config = Config()
    config.accesslog = None
    config.errorlog = log
    config.include_server_header = False
    config.h11_max_incomplete_size = settings.header_bytes
    config.h2_max_header_list_size = settings.header_bytes
    config.websocket_max_message_size = settings.websocket_bytes
    # Routers keep few connections to a worker, and keep them: a request costs what it costs, whatever its number.
    config.keep_alive_max_requests = sys.maxsize
    return config
