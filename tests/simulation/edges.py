"""The simulated edges in calm weather, for the contract tests that the real ones pass too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from sie.bus.nats import NatsBus
from sie.settings import Settings
from sie.testing.simulation.broker import Broker, Link
from sie.testing.simulation.store import Disk, SimulatedStore
from sie.testing.simulation.world import Life, World
from tests.bus.made import running, wait_connected


@asynccontextmanager
async def passing_time() -> AsyncIterator[World]:
    """A world whose time passes as Trio's does."""
    world = World("contract")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.pass_time)
        yield world
        nursery.cancel_scope.cancel(reason="the test is done")


@asynccontextmanager
async def simulated_store() -> AsyncIterator[SimulatedStore]:
    async with passing_time() as world:
        yield SimulatedStore(Disk(world, 0), Life("process"), timeout_s=5.0)


@asynccontextmanager
async def simulated_bus(settings: Settings) -> AsyncIterator[NatsBus]:
    """The real NatsBus over a simulated broker."""
    async with passing_time() as world:
        broker = Broker(world)
        broker.weather = replace(broker.weather, slow_s=0.0)
        link = Link(broker, Life("process"), settings)
        async with running(settings, broker=link) as bus:
            await wait_connected(bus)
            yield bus
