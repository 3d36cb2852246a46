"""An ASGI app on a port, in the caller's nursery, behind the listener of the settings."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import cast

import trio
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import repr_socket_addr, wrap_app

from sie.errors import ConfigurationError
from sie.http.multiprotocol import Connections, config_of
from sie.listener.asgi import ASGIApp
from sie.listener.limits import Limits
from sie.listener.server import serve
from sie.settings import Settings

log = logging.getLogger("sie.http")

MOST_PORT = 65_535
SERVERS = ("listener", "hypercorn")


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
    Raises ConfigurationError if the address cannot be had, or there is no such server.
    """
    if settings.server not in SERVERS:
        raise ConfigurationError(f"SIE_SERVER={settings.server!r}: say {' or '.join(SERVERS)}")
    listeners = await _listen(settings.host, settings.port)
    address = _address(listeners[0])
    config = config_of(settings)
    state: LifespanState = {}
    lifespan = Lifespan(wrap_app(app, 0, "asgi"), config, state)
    if settings.server == "hypercorn":
        serving = partial(Connections(app, config, state, settings).serve, listeners, stop=stop)
    else:
        serving = partial(serve, cast("ASGIApp", app), listeners, stop=stop, limits=_limits(settings))
    try:
        async with trio.open_nursery() as lifespan_nursery:
            await lifespan_nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            async with trio.open_nursery() as nursery:
                await nursery.start(serving)
                task_status.started(address)
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel(reason="stopping: the app has shut down")
    finally:
        for listener in listeners:
            listener.socket.close()


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    if port > MOST_PORT:  # the resolver would take another in its place
        raise ConfigurationError(f"cannot listen on {host}:{port} (SIE_HOST, SIE_PORT): ports end at {MOST_PORT}")
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except (OSError, OverflowError, UnicodeError) as fault:
        raise ConfigurationError(f"cannot listen on {host}:{port} (SIE_HOST, SIE_PORT): {fault}") from None


def _address(listener: trio.SocketListener) -> str:
    return f"http://{repr_socket_addr(listener.socket.family, listener.socket.getsockname())}"


def _limits(settings: Settings) -> Limits:
    return Limits(
        keep_alive_s=settings.keep_alive_s,
        head_s=settings.header_s,
        body_stall_s=math.inf,  # bodies have a time of their own, where they are read
        write_stall_s=settings.write_stall_s,
        linger_s=settings.linger_s,
        grace_s=settings.grace_s,
        request_line_bytes=settings.header_bytes,
        head_bytes=settings.header_bytes,
        websocket_bytes=settings.websocket_bytes,
        connections=settings.connections,
    )
