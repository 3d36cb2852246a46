"""Long work in the one loop: everybody else gets a turn in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import trio

T = TypeVar("T")

# A request takes some twenty turns of its own, and waits this long before each of them.
_TURN_S = 0.002


async def in_turns(items: Iterable[T], do: Callable[[T], object]) -> None:
    """Do it with each item, with a checkpoint whenever about 2 ms have gone by.

    `items` is read over all that time: whoever changes it meanwhile gives a copy. Cancelled: between two items.
    """
    begun = time.perf_counter()
    for item in items:
        if time.perf_counter() - begun >= _TURN_S:
            await trio.lowlevel.checkpoint()
            begun = time.perf_counter()
        do(item)
