"""A nursery for services, whose owner's own error leaves it as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_services(reason: str) -> AsyncIterator[trio.Nursery]:
    """Run services for as long as the block does; then cancel them, saying `reason`, and wait for their end.

    What the block raises is raised unwrapped. A service that raises ends the block, and comes out inside a group.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as services:
        try:
            yield services
        except Exception as error:
            failure = error
        services.cancel_scope.cancel(reason=reason)
    if failure is not None:
        raise failure
