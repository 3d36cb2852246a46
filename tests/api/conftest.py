"""A real service on a free port, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio

import sie


@asynccontextmanager
async def service(**settings: object) -> AsyncIterator[httpx.AsyncClient]:
    """The service with these settings, seen through a client; ended as SIGTERM ends it."""
    stop = trio.Event()
    given = sie.Settings(**{"port": 0, "grace_s": 2.0, **settings})  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(sie.serve, given, stop=stop))
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            yield client
        stop.set()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A service in memory with the built-in catalog and no tokens."""
    async with service() as client:
        yield client
