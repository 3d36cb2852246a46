"""hypercorn's protocols behind accepting, deadlines and a stop of our own: HTTP/2 beside HTTP/1.1."""

from __future__ import annotations

import logging
import sys
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import wrap_app

from sie.http.connection import Connection, Patience
from sie.settings import Settings

log = logging.getLogger("sie.http")


class Connections:
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
        self, listeners: list[trio.SocketListener], *, stop: trio.Event, task_status: trio.TaskStatus[None]
    ) -> None:
        """Until `stop`, and then for as long as what is in work takes, `grace_s` at most. Cancelled: all are cut."""
        async with trio.open_nursery() as nursery:
            try:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(
                        partial(trio.serve_listeners, self._connect, listeners, handler_nursery=nursery)
                    )
                    task_status.started()
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


def config_of(settings: Settings) -> Config:
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
