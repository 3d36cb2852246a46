"""`/ws/status`: how the worker stands, pushed to each router that dials in, at once and at every change."""

from __future__ import annotations

import trio
from quart import Blueprint, websocket

from sie.http.auth import Access
from sie.settings import Settings
from sie.worker.standing import Standing

_GOING_AWAY = 1001


def status_blueprint(standing: Standing, settings: Settings, access: Access) -> Blueprint:
    """The socket asks for a token where one is set, unless `settings.status_open`; it ends when the worker has left."""
    routes = Blueprint("status", __name__)

    @routes.websocket("/ws/status")
    async def status() -> None:
        if not settings.status_open:
            access.require_read(websocket.headers)
        await websocket.accept()
        async with trio.open_nursery() as listening:
            listening.start_soon(_hear_nothing)
            await _tell(standing, settings.status_heartbeat_s)
            listening.cancel_scope.cancel(reason="the worker has left")
        await websocket.close(_GOING_AWAY, "the worker has finished")

    return routes


async def _tell(standing: Standing, heartbeat_s: float) -> None:
    """Until the worker has left. A reader that is slow gets fewer messages, each the newest."""
    while True:
        seen = standing.changes
        await websocket.send(standing.message())
        if standing.gone:
            return
        with trio.move_on_after(heartbeat_s):
            await standing.wait_changed(seen)


async def _hear_nothing() -> None:
    """No router says anything here; what is said all the same must not lie about, or the end would not be noticed."""
    while True:
        await websocket.receive()
