"""In a child that runs Trio: what its parent tells it, line by line."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio


async def obey(carry_out: Callable[[str], Awaitable[None]]) -> None:
    """Carry out each line of the standard input, in turn; return at its end."""
    unread = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        async for piece in stream:
            *lines, unread = (unread + piece).split(b"\n")
            for line in lines:
                await carry_out(line.decode())


async def obey_nothing() -> None:
    """Return when the standard input ends: for children that only listen."""

    async def pass_over(order: str) -> None:
        await trio.lowlevel.checkpoint()

    await obey(pass_over)
