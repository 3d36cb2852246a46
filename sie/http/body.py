"""A request's body, read whole, never beyond its limit."""

from __future__ import annotations

import math
from typing import cast

import trio
from quart import Request

from sie.errors import RequestTooSlow
from sie.http.plain import too_large

_READ = "sie.body_read"


async def read_body(request: Request, limit: int) -> bytes:
    """At most `limit` bytes, within the time the app gives a body (`SIE_BODY_S`).

    Raises PayloadTooLarge, before reading if the length was declared, and RequestTooSlow. A client that goes away
    while it sends cancels the request, and with it this.
    """
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    within_s = math.inf if request.body_timeout is None else request.body_timeout
    pieces: list[bytes] = []
    size = 0
    with trio.move_on_after(within_s) as reading:
        async for piece in request.body:
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            pieces.append(piece)
    if reading.cancelled_caught:
        raise RequestTooSlow(f"The body did not arrive within {within_s:g} s", limit_s=within_s)
    note_read(request)
    return b"".join(pieces)


def note_read(request: Request) -> None:
    """The whole body has been taken: the connection may carry another request."""
    cast("dict[str, object]", request.scope)[_READ] = True


def has_unread_body(request: Request) -> bool:
    """Whether there is a body that nobody took to its end."""
    said = request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers
    return said and _READ not in cast("dict[str, object]", request.scope)
