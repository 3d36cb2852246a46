"""A worker behind HTTP: inference over its own catalog, and the socket by which routers know how it stands."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from sie.http.app import http_app
from sie.http.auth import Access
from sie.http.server import serve_app
from sie.services import open_services
from sie.settings import Settings
from sie.worker.health import health_blueprint
from sie.worker.process import WorkerProcess, open_worker
from sie.worker.routes import inference_blueprint
from sie.worker.standing import Standing
from sie.worker.status_socket import status_blueprint

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

log = logging.getLogger(__name__)


async def serve_worker(  # noqa: ASYNC128 — serve_app says it
    settings: Settings | None = None,
    *,
    stop: trio.Event | None = None,
    settled: trio.Event | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve HTTP until `stop` is set; then say so to the routers, finish what is in flight within the grace period,
    let the routers go, and return.

    Started with the bound address, `http://host:port`; `/readyz` says when it has caught up, and `settled` is set then,
    or when it ends. Cancelled: everything ends at once. Raises ConfigurationError as `open_worker` does.
    """
    settings = settings if settings is not None else Settings.from_environment()
    settled = settled if settled is not None else trio.Event()
    try:
        async with open_worker(settings) as process, open_services("served to the end") as services:
            services.start_soon(_settle, process.standing, settled)
            await serve_process(process, stop=stop if stop is not None else trio.Event(), task_status=task_status)
    finally:
        settled.set()


async def _settle(standing: Standing, settled: trio.Event) -> None:
    await standing.wait_until(lambda: standing.ready)
    settled.set()


async def serve_process(  # noqa: ASYNC128 — serve_app says it
    process: WorkerProcess, *, stop: trio.Event, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """The same for a worker that is open already."""
    settings = process.settings
    access = Access(auth_token=settings.auth_token, admin_token=settings.admin_token)
    if access.open:
        log.warning("neither SIE_AUTH_TOKEN nor SIE_ADMIN_TOKEN is set: everybody may infer and see the status")
    app = Counted(
        http_app(
            settings,
            health_blueprint(process, access),
            status_blueprint(process.standing, settings, access),
            inference_blueprint(process.dispatch, settings, access),
        )
    )
    async with open_services("served to the end") as services:
        services.start_soon(_drain, stop, process.standing, app)
        await serve_app(app, settings, stop=stop, task_status=task_status)


class Counted:
    """An ASGI app that knows how many HTTP requests it has in hand."""

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app
        self._in_hand = 0
        self._none = trio.Event()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._in_hand += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._none.set()

    async def wait_none(self) -> None:
        """Returns when it has no request in hand."""
        while self._in_hand:
            self._none = trio.Event()
            await self._none.wait()


async def _drain(stop: trio.Event, standing: Standing, app: Counted) -> None:
    await stop.wait()
    standing.drain()
    await app.wait_none()
    standing.leave()
