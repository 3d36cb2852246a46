"""Reconcile over a real NATS: what could not be published is said once it can be, and stores are told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from sie.bus.contract import Nudge
from sie.bus.nats import NatsBus
from sie.errors import BusUnavailable
from sie.flow import Order
from sie.router.announcing import nats_bus
from sie.router.fleet import Fleet
from sie.router.reconcile import Reconcile
from sie.router.writer import Writer
from sie.settings import Settings
from sie.store.memory import MemoryStore
from tests.bus.made import PATIENCE_S, connected, next_notice, settings_for, wait_connected
from tests.bus.natsserver import NatsServer
from tests.pages import FIRST, PAGE_ID
from tests.router.made import eventually
from tests.router.test_writer import change, head_for


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@asynccontextmanager
async def router(settings: Settings) -> AsyncIterator[tuple[Writer, NatsBus]]:
    """Its store is its own memory."""
    head = head_for(MemoryStore(), settings)
    bus = nats_bus(settings, head)
    writer = Writer(head, bus, settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        await nursery.start(writer.run)
        await nursery.start(Reconcile(writer=writer, fleet=Fleet(), nats=bus, settings=settings).run)
        yield writer, bus
        nursery.cancel_scope.cancel(reason="the test has what it wanted")


def order(name: str) -> Order:
    return Order(change=change(FIRST.replace(PAGE_ID.encode(), name.encode())))


async def test_what_could_not_be_published_is_said_by_the_loop_in_order(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(nats, reconcile_s=0.1)
    async with router(settings) as (writer, bus), connected(settings, name="worker") as worker:
        await wait_connected(bus)
        with worker.follow("default") as hints:
            with trio.fail_after(PATIENCE_S):
                while not isinstance(await hints.receive(), Nudge):  # which says that it listens
                    pass
            with monkeypatch.context() as patched:

                async def away(_: object) -> None:
                    raise BusUnavailable("away for this test")

                patched.setattr(bus, "publish", away)
                committed = [await writer.submit(order(name)) for name in ("a/one", "a/two", "a/three")]
                assert all(one.warnings for one in committed)
                await trio.sleep(0.3)  # tries that fail keep them, and their order
                assert len(writer.head.unsaid) == 3
            heard = [(await next_notice(hints)).entry.revision for _ in range(3)]
            assert heard == [one.revision for one in committed]
        await eventually(lambda: not writer.head.unsaid)


async def test_routers_with_stores_of_their_own_come_to_serve_the_same(nats: NatsServer) -> None:
    """Each way of learning: what was there before the other came, and what is posted then."""
    settings = settings_for(nats, reconcile_s=0.5)
    async with router(settings) as (one, _):
        await one.submit(order("a/before"))
        async with router(settings) as (two, _):
            await eventually(lambda: two.head.catalog.find("a/before") is not None)
            await one.submit(order("a/one"))
            await two.submit(order("a/two"))
            with trio.fail_after(PATIENCE_S):
                while one.head.catalog.digest("default") != two.head.catalog.digest("default"):
                    await trio.sleep(0.02)
            for writer, other in ((one, two), (two, one)):
                assert {"a/before", "a/one", "a/two"} <= {each.sie_id for each in writer.head.catalog.models()}
                assert dict(writer.head.foreign.known) == {other.head.store_id: other.head.revision}
            assert {each.sie_id for each in two.head.catalog.logged()} == {"a/two"}  # never logged again
            # What both have is nothing new to either.
            assert (await two.submit(order("a/before"))).status == 200


async def test_three_that_come_together_agree(nats: NatsServer) -> None:
    settings = settings_for(nats, reconcile_s=0.5)
    async with router(settings) as (one, _), router(settings) as (two, _), router(settings) as (three, _):
        writers = (one, two, three)
        async with trio.open_nursery() as nursery:
            for place, writer in enumerate(writers):
                for number in range(5):
                    nursery.start_soon(writer.submit, order(f"a/m{place}-{number}"))
        with trio.fail_after(PATIENCE_S):
            while (
                len({each.head.catalog.digest("default") for each in writers}) > 1
                or len(one.head.catalog.models()) < 15
            ):
                await trio.sleep(0.02)
