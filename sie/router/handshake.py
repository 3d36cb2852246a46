"""A stream on which a WebSocket handshake ends soon, well or not: trio-websocket alone would wait and collect."""

from __future__ import annotations

import trio

# Of an answer to a handshake, refusals with a page included.
_ANSWER_BYTES = 64 * 1024


class HandshakeBroken(Exception):
    """The peer ended the connection, or said too much, before there was a WebSocket."""


class HandshakeStream(trio.abc.Stream):
    """Passes everything through. Until `done` is called the end of the stream, or a flood, raises HandshakeBroken."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._left: int | None = _ANSWER_BYTES

    def done(self) -> None:
        """The handshake has succeeded."""
        self._left = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            content = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as fault:
            if self._left is None:
                raise
            raise HandshakeBroken("it broke the connection off") from fault
        if self._left is not None:  # asked after the wait: the handshake may have ended in it
            self._left -= len(content)
            if not content or self._left < 0:
                raise HandshakeBroken("it answered too much" if content else "it closed the connection")
        return content

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as fault:
            if self._left is None:
                raise
            raise HandshakeBroken("it broke the connection off") from fault

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
