"""A request's body, read whole, never beyond its limit."""

from __future__ import annotations

import math

import trio
from quart import Request

from sie.errors import PayloadTooLarge, RequestTooSlow


async def read_body(request: Request, limit: int) -> bytes:
    """At most `limit` bytes, within the time the app gives a body (`SIE_BODY_S`).

    Raises PayloadTooLarge, before reading if the length was declared, and RequestTooSlow. A client that goes away
    while it sends cancels the request, and with it this.
    """
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    within_s = math.inf if request.body_timeout is None else request.body_timeout
    pieces: list[bytes] = []
    size = 0
    with trio.move_on_after(within_s) as reading:
        async for piece in request.body:
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
    if reading.cancelled_caught:
        raise RequestTooSlow(f"The body did not arrive within {within_s:g} s", limit_s=within_s)
    return b"".join(pieces)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limit:,} bytes", limit_bytes=limit)
