"""`X-SIE-Min-Revision: N`: read your own writes on any router."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import trio

from sie.errors import CatalogBehind, InvalidInput
from sie.http.headers import Headers

MIN_REVISION = "X-SIE-Min-Revision"

_NUMBER = re.compile(r"[0-9]{1,18}")
_RETRY_S = 1.0


async def reach_min_revision(
    headers: Headers,
    *,
    revision: Callable[[], int],
    wait_revision: Callable[[int], Awaitable[None]],
    within_s: float,
) -> None:
    """Return at once without the header, else when `revision()` has reached what it says.

    `wait_revision(n)` is to return when it has; it is cancelled after `within_s` seconds.
    Raises InvalidInput for a header that is no number, and CatalogBehind with the `lag` when the time is over.
    """
    said = headers.get(MIN_REVISION)
    if said is None:
        return
    if not _NUMBER.fullmatch(said.strip()):
        raise InvalidInput(f"Header {MIN_REVISION} must be a revision, a whole number from 0", path=MIN_REVISION)
    wanted = int(said)
    if revision() < wanted:
        with trio.move_on_after(within_s):
            await wait_revision(wanted)
    lag = wanted - revision()
    if lag > 0:
        raise CatalogBehind(
            f"this router knows revision {revision()}, {lag} behind the {wanted} asked for; ask again",
            lag=lag,
            revision=revision(),
            retry_after_s=_RETRY_S,
        )
