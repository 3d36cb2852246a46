"""`/ws/cluster-status`: what `/health` says, once a second, as SIE's own client watches it."""

from __future__ import annotations

import time

import orjson
import trio
from quart import Blueprint, websocket

from sie.http.auth import Access
from sie.router.health import cluster_status
from sie.router.plane import ConfigPlane


def cluster_blueprint(plane: ConfigPlane, access: Access) -> Blueprint:
    """The socket. Open to everybody unless a setting closes `/health`; ends as soon as the process is told to stop."""
    routes = Blueprint("cluster", __name__)

    @routes.websocket("/ws/cluster-status")
    async def watch_cluster() -> None:
        if plane.settings.close_health:
            access.require_read(websocket.headers)
        await websocket.accept()
        while not plane.stopping.is_set():
            status = await cluster_status(plane)
            shown = {key: status[key] for key in ("cluster", "workers", "models")}
            await websocket.send(orjson.dumps({"timestamp": time.time(), **shown}).decode())
            with trio.move_on_after(plane.settings.cluster_status_s):
                await plane.stopping.wait()
        await websocket.close(1001, "the router is stopping")

    return routes
