"""The answer to one request, its body as it comes."""

from __future__ import annotations

from collections.abc import Callable

import trio

from sie.caller.connection import Connection
from sie.caller.origin import Origin


class Answer:
    """From when its head is here: `status`, `headers` (their names in lower case). Iterated, its body.

    `whole`: all of the body, if it came with the head. Whoever has an answer closes it; closed before its end, it hangs
    up. Iterating raises BrokenOff and Silent; no more is read ahead than `Limits.read_bytes`.
    """

    __slots__ = ("_connection", "_ended", "_left", "_let_go", "_open", "_origin", "headers", "status", "whole")

    def __init__(self, connection: Connection, origin: Origin, let_go: Callable[[Origin, Connection], None]) -> None:
        """`let_go`: called once, when the body is read to its end, or nobody wants it."""
        self.status = connection.parser.status
        self.headers = connection.parser.headers
        self._connection = connection
        self._origin = origin
        self._let_go = let_go
        self._open, self._ended = True, False
        self._left = self._take()
        self.whole = self._left if self._ended else None

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        """Cancelled: nothing is lost. Raises ClosedResourceError after a `close` that came before the end."""
        while not self._left:
            if self._ended:
                raise StopAsyncIteration
            if not self._open:
                raise trio.ClosedResourceError("this answer was closed")
            await self._connection.more()
            self._left = self._take()
        piece, self._left = self._left, b""
        return piece

    def close(self) -> None:
        """Done with it. The connection is used again if all was read, else closed at once."""
        if self._open:
            self._open = False
            self._left = b""
            self._let_go(self._origin, self._connection)

    def _take(self) -> bytes:
        parser = self._connection.parser
        piece = b"".join(parser.pieces)
        parser.pieces.clear()
        if parser.complete:
            self._ended = True
            self.close()
        return piece
