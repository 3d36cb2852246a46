"""A router behind HTTP."""

from __future__ import annotations

import trio

from sie.observe.traffic import TrafficNumbers
from sie.router.proxy import proxy_blueprint
from sie.router.router import open_router
from sie.service import access_of, serve_plane
from sie.settings import Settings


async def serve_router(  # noqa: ASYNC128 — serve_app says it
    settings: Settings,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """As `sie.serve`, for a router: inference is passed on to the workers it is linked to."""
    access = access_of(settings)
    async with open_router(settings) as router:
        inference = proxy_blueprint(router.proxy, access)
        stop = stop if stop is not None else trio.Event()
        await serve_plane(router, inference, access, stop, task_status, TrafficNumbers(router.proxy, router.links))
