"""The engine behind HTTP: `await nursery.start(sie.serve, settings)`."""

from __future__ import annotations

import logging

import trio
from prometheus_client.registry import Collector
from quart import Blueprint

from sie.engine import open_engine
from sie.http.app import http_app
from sie.http.auth import Access
from sie.http.server import serve_app
from sie.router.cluster_socket import cluster_blueprint
from sie.router.health import health_blueprint
from sie.router.plane import ConfigPlane
from sie.router.routes import config_blueprint
from sie.router.watch import watch_blueprint
from sie.services import open_services
from sie.settings import Settings
from sie.worker.routes import inference_blueprint

log = logging.getLogger(__name__)


async def serve(  # noqa: ASYNC128 — serve_app says it
    settings: Settings | None = None,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve HTTP until `stop` is set, then finish what is in flight within the grace period and return.

    Started with the bound address, `http://host:port`, once the engine is ready for requests. Cancelled: everything
    ends at once; accepted writes stay. Raises ConfigurationError and StoreCorrupt as `open_engine` does.
    """
    settings = settings if settings is not None else Settings.from_environment()
    access = access_of(settings)
    async with open_engine(settings) as engine:
        inference = inference_blueprint(engine.dispatch, settings, access, engine.reach)
        await serve_plane(engine, inference, access, stop if stop is not None else trio.Event(), task_status)


async def serve_plane(  # noqa: ASYNC128 — serve_app says it
    plane: ConfigPlane,
    inference: Blueprint,
    access: Access,
    stop: trio.Event,
    task_status: trio.TaskStatus[str],
    *numbers: Collector,
) -> None:
    """The Config API over a plane, and inference beside it, until `stop`; see `serve`.

    `numbers`: shown by `/metrics` beside the plane's own.
    """
    app = http_app(
        plane.settings,
        health_blueprint(plane, access, *numbers),
        config_blueprint(plane, access),
        watch_blueprint(plane.watch, access),
        cluster_blueprint(plane, access),
        inference,
    )
    async with open_services("served to the end") as services:
        services.start_soon(_end_streams, plane, stop)
        await serve_app(app, plane.settings, stop=stop, task_status=task_status)


async def _end_streams(plane: ConfigPlane, stop: trio.Event) -> None:
    """What has no end of its own ends when the stop is told, and not with the grace period."""
    await stop.wait()
    plane.stopping.set()
    plane.watch.end()


def access_of(settings: Settings) -> Access:
    """Who may do what, by the settings' tokens; a warning if that is everybody."""
    access = Access(auth_token=settings.auth_token, admin_token=settings.admin_token)
    if access.open:
        log.warning("neither SIE_AUTH_TOKEN nor SIE_ADMIN_TOKEN is set: everybody may add models and infer")
    return access
