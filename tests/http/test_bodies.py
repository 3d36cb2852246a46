"""A response's body that holds something lets go of it, however little of it was sent."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from sie.http.app import http_app
from sie.http.plain import Asked, PlainBlueprint, Reply
from sie.settings import Settings


class Held:
    def __init__(self) -> None:
        self.closed = 0
        self.left = 3

    def __aiter__(self) -> Held:
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return b"piece"

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed += 1


SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/held",
    "raw_path": b"/held",
    "query_string": b"",
    "root_path": "",
    "headers": [],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 2),
    "extensions": {},
}


@pytest.mark.parametrize("messages", [0, 1, 2, 5], ids=["no head", "head", "a piece", "all"])
async def test_it_is_closed_whenever_the_client_goes(messages: int) -> None:
    """The client goes while the next message after so many is being sent."""
    body = Held()
    routes = PlainBlueprint("held", __name__)

    @routes.plain("/held")
    async def held(asked: Asked, _: str) -> Reply:
        return Reply(body, content_type="text/plain")

    sent: list[str] = []
    gone = trio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if len(sent) == messages:
            gone.set()
            await trio.sleep_forever()
        sent.append(message["type"])

    app = http_app(Settings(), routes)
    with trio.fail_after(5):
        await app(dict(SCOPE), receive, send)  # type: ignore[arg-type]
    assert len(sent) == messages
    assert body.closed >= 1
