"""A client's request body on its way to a worker: streamed, and kept, up to a bound, to be sent again."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable

import trio

from sie.errors import RequestTooSlow
from sie.http.body import too_large
from sie.http.plain import Asked
from sie.settings import Settings


class Upload:
    """Each iteration gives the whole body from its beginning, what was kept and then what comes.

    Iterating raises PayloadTooLarge and RequestTooSlow. `length`: as the client declared it, None if it did not.
    `repeatable`: all that was taken is kept; the first piece always is.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes],
        *,
        length: int | None,
        size_most: int,
        kept_most: int,
        deadline: float = math.inf,
        taken: Callable[[], bool] | None = None,
    ) -> None:
        """`size_most`: bytes of it at all; `kept_most`: of those kept; `deadline`: on Trio's clock, for all of it;
        `taken`: whether `body` is known to have given all.

        Raises PayloadTooLarge if the declared length is.
        """
        self.length = length
        self.kept: list[bytes] = []
        self.repeatable = True
        self._body = body
        self._taken = taken
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
            deadline=math.inf if asked.here else trio.current_time() + settings.body_s,
            taken=lambda: asked.taken,
        )

    @staticmethod
    def whole(content: bytes) -> Upload:
        """A body that is here already."""
        size = len(content)
        upload = Upload(_Nothing(), length=size, size_most=size, kept_most=size, taken=lambda: True)
        upload.kept.append(content)
        return upload

    async def content(self) -> bytes | Upload:
        """Wait for its first piece, if it has not come before; return the body, if that is all of it.

        Raises as iterating does. Cancelled: nothing is lost.
        """
        if self._taken is None:
            return self
        if not self.kept and self.repeatable and not self._taken():
            await self.next_piece()
        if not self._taken() or not self.repeatable:
            return self
        return self.kept[0] if len(self.kept) == 1 else b"".join(self.kept)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Reading(self)

    async def next_piece(self) -> bytes:
        """What comes next from the client. Raises StopAsyncIteration at the end."""
        if self._deadline == math.inf:  # a scope costs a tenth of all that a router does for a small request
            piece = await anext(self._body)
        else:
            with trio.CancelScope(deadline=self._deadline) as waiting:
                piece = await anext(self._body)
            if waiting.cancelled_caught:
                raise RequestTooSlow("The body did not arrive in its time")
        self._size += len(piece)
        self._check(self._size)
        self.repeatable = self.repeatable and (self._size <= self._kept_most or not self.kept)
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
        self._given = 0

    async def __anext__(self) -> bytes:
        if self._given < len(self._upload.kept):
            piece = self._upload.kept[self._given]
        else:
            piece = await self._upload.next_piece()
        self._given += 1
        return piece


class _Nothing(AsyncIterator[bytes]):
    async def __anext__(self) -> bytes:
        raise StopAsyncIteration
