"""A request's body, read whole, never beyond its limit."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable
from typing import cast

import trio
from quart import Request

from sie.errors import PayloadTooLarge, RequestTooSlow

_READ = "sie.body_read"


async def read_body(request: Request, limit: int) -> bytes:
    """At most `limit` bytes, within the time the app gives a body (`SIE_BODY_S`).

    Raises PayloadTooLarge, before reading if the length was declared, and RequestTooSlow. A client that goes away
    while it sends cancels the request, and with it this.
    """
    within_s = math.inf if request.body_timeout is None else request.body_timeout
    content = await read_whole(request.body, length=request.content_length, limit=limit, within_s=within_s)
    note_read(request)
    return content


def note_read(request: Request) -> None:
    """The whole body has been taken: the connection may carry another request."""
    cast("dict[str, object]", request.scope)[_READ] = True


async def read_whole(pieces: AsyncIterable[bytes], *, length: int | None, limit: int, within_s: float) -> bytes:
    """A body from its pieces; `length`: as it was declared, None if it was not.

    Raises PayloadTooLarge, by the declared length before anything is read, RequestTooSlow, and what the pieces raise.
    Cancelled: what was read of it is lost.
    """
    if length is not None and length > limit:
        raise too_large(limit)
    if within_s == math.inf:
        return await _joined(pieces, limit)
    with trio.move_on_after(within_s):
        return await _joined(pieces, limit)
    raise RequestTooSlow(f"The body did not arrive within {within_s:g} s", limit_s=within_s)


async def _joined(pieces: AsyncIterable[bytes], limit: int) -> bytes:
    taken: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        taken.append(piece)
    return b"".join(taken)


def has_unread_body(request: Request) -> bool:
    """Whether there is a body that nobody took to its end."""
    said = request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers
    return said and _READ not in cast("dict[str, object]", request.scope)


def too_large(limit: int) -> PayloadTooLarge:
    """A body above this many bytes."""
    return PayloadTooLarge(f"The body is larger than {limit:,} bytes", limit_bytes=limit)
