"""A client's request body on its way to a worker: streamed, and kept, up to a bound, to be sent again."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import httpx
import trio

from sie.errors import RequestTooSlow
from sie.http.body import too_large
from sie.http.plain import Asked
from sie.settings import Settings


class Upload(httpx.AsyncByteStream):
    """Each iteration gives the whole body from its beginning, what was kept and then what comes.

    Iterating raises PayloadTooLarge and RequestTooSlow. `length`: as the client declared it, None if it did not.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes],
        *,
        length: int | None,
        size_most: int,
        kept_most: int,
        deadline: float = math.inf,
    ) -> None:
        """`size_most`: bytes of it at all; `kept_most`: of those kept; `deadline`: on Trio's clock, for all of it.

        Raises PayloadTooLarge if the declared length is.
        """
        self.length = length
        self.kept: list[bytes] = []
        self.repeatable = True  # as long as all that was sent is kept
        self._body = body
        self._size = 0
        self._size_most = size_most
        self._kept_most = kept_most
        self._deadline = deadline
        self._check(length or 0)

    @staticmethod
    def of(asked: Asked, settings: Settings) -> Upload:
        """A request's body, as it comes."""
        return Upload(
            asked,
            length=asked.length,
            size_most=settings.request_body_bytes,
            kept_most=settings.forward_kept_bytes,
            deadline=trio.current_time() + settings.body_s,
        )

    @staticmethod
    def whole(content: bytes) -> Upload:
        """A body that is here already."""
        return Upload(_Once(content), length=len(content), size_most=len(content), kept_most=len(content))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Reading(self)

    async def next_piece(self) -> bytes:
        """What comes next from the client. Raises StopAsyncIteration at the end."""
        with trio.move_on_at(self._deadline) as waiting:
            piece = await anext(self._body)
        if waiting.cancelled_caught:
            raise RequestTooSlow("The body did not arrive in its time")
        self._size += len(piece)
        self._check(self._size)
        self.repeatable = self._size <= self._kept_most
        if self.repeatable:
            self.kept.append(piece)
        else:
            self.kept.clear()
        return piece

    def _check(self, size: int) -> None:
        if size > self._size_most:
            raise too_large(self._size_most)


class _Reading(AsyncIterator[bytes]):
    """No generator: one that a failed connection leaves unfinished would be Trio's to complain about."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._taken = 0

    async def __anext__(self) -> bytes:
        if self._taken < len(self._upload.kept):
            piece = self._upload.kept[self._taken]
        else:
            piece = await self._upload.next_piece()
        self._taken += 1
        return piece


class _Once(AsyncIterator[bytes]):
    def __init__(self, content: bytes) -> None:
        self._left = [content] if content else []

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()
