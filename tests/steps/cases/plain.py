"""Plain routes: a cancelled one has let go of its body, and has not sent half an answer as a whole one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import trio

from sie.http.plain import Asked, Plain, Reply
from sie.settings import Settings
from sie.testing.steps import Round, Trial
from tests.steps.table import Place, case

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/echo",
    "query_string": b"",
    "headers": [(b"content-length", b"10")],
}


class Held:
    """A body of two pieces. `open`: how many were made and not closed."""

    open = 0

    def __init__(self, content: bytes) -> None:
        self._left = [content[:5], content[5:]]
        self._closed = False
        Held.open += 1

    def __aiter__(self) -> Held:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    async def aclose(self) -> None:
        Held.open -= not self._closed
        self._closed = True
        await trio.lowlevel.checkpoint()


class Client:
    """Sends ten bytes in two pieces and waits; what it is sent, it keeps."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._pieces = [b"01234", b"56789"]

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if not self._pieces:
            await trio.sleep_forever()
        piece = self._pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}

    async def send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    @property
    def whole(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


async def echo(asked: Asked, _: str) -> Reply:
    return Reply(Held(await asked.read_body(10)))


@case(
    "sie.http.plain:Plain.answer",
    *(f"sie.http.plain:Asked.{name}" for name in ("read_body", "__anext__", "wait_hung_up")),
)
@asynccontextmanager
async def answering(place: Place) -> AsyncIterator[Trial]:
    plain = Plain(Settings(), {"/echo": echo})
    clients: list[Client] = []
    Held.open = 0

    async def act() -> bytes:
        clients.append(client := Client())
        await plain.answer(echo, "", cast("Any", SCOPE), cast("Any", client.receive), cast("Any", client.send))
        return b"".join(one.get("body", b"") for one in client.sent)

    async def check(done: Round) -> None:
        assert Held.open == 0
        assert clients[-1].whole >= done.finished
        assert await act() == b"0123456789"

    yield Trial(act=act, check=check)
