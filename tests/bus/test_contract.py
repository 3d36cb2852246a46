"""What every bus promises, asked of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from sie.bus.contract import Bus, Elsewhere, Hint, Nudge
from sie.bus.local import LocalBus
from sie.bus.nats import NatsBus
from tests.bus.made import connected, next_elsewhere, next_notice, notice, reminder, settings_for, wait_nudged
from tests.bus.natsserver import NatsServer
from tests.simulation.edges import simulated_bus


@pytest.fixture(params=["local", "nats", "simulated"])
async def bus(request: pytest.FixtureRequest, shared_nats: NatsServer) -> AsyncIterator[Bus]:
    if request.param == "local":
        yield LocalBus()
    elif request.param == "simulated":
        async with simulated_bus(settings_for(shared_nats)) as simulated:
            yield simulated
    else:
        async with connected(settings_for(shared_nats)) as nats:
            yield nats


@asynccontextmanager
async def following(bus: Bus, bundle: str) -> AsyncIterator[trio.MemoryReceiveChannel[Hint]]:
    with bus.follow(bundle) as hints:
        if isinstance(bus, NatsBus):
            await wait_nudged(hints)  # which says that it listens
        yield hints


async def test_only_followers_of_a_touched_bundle_hear_of_an_entry(bus: Bus) -> None:
    async with following(bus, "default") as mine, following(bus, "other") as other:
        await bus.publish(notice(1, "default"))
        assert await next_notice(mine) == notice(1, "default")
        await bus.publish(notice(2, "other"))
        assert await next_notice(other) == notice(2, "other")


async def test_every_follower_of_a_bundle_hears(bus: Bus) -> None:
    async with following(bus, "default") as one:
        with bus.follow("default") as two:
            await bus.publish(notice(1, "default"))
            assert await next_notice(one) == await next_notice(two) == notice(1, "default")


async def test_followers_of_several_bundles_each_learn_what_came_before_it_there(bus: Bus) -> None:
    async with following(bus, "default") as one, following(bus, "other") as two:
        both = notice(7, "default", "other")
        await bus.publish(both)
        heard = await next_notice(one), await next_notice(two)
    assert [each.entry for each in heard] == [both.entry, both.entry]
    assert (heard[0].previous["default"], heard[1].previous["other"]) == (6, 6)


async def test_a_reminder_tells_each_followed_bundle_of_the_model_where_its_newest_entry_is(bus: Bus) -> None:
    async with following(bus, "default") as one, following(bus, "other") as two, following(bus, "third") as third:
        await bus.remind(replace(reminder("default", "other", revision=7), heads={"default": 7, "other": 5}))
        assert await next_elsewhere(one) == Elsewhere("store-1", 7)
        assert await next_elsewhere(two) == Elsewhere("store-1", 5)
        await bus.remind(reminder("third", revision=9))
        assert await next_elsewhere(third) == Elsewhere("store-1", 9)


async def test_an_entry_that_brings_a_model_into_a_bundle_is_heard_there(bus: Bus) -> None:
    """It is its own forerunner, by which a follower sees that it must read the model whole."""
    joining = replace(notice(7, "default", "other"), previous={"default": 6, "other": 7})
    async with following(bus, "default") as one, following(bus, "other") as two:
        await bus.publish(joining)
        assert (await next_notice(one)).previous["default"] == 6
        with trio.move_on_after(2) as waiting:
            assert (await next_notice(two)).previous["other"] == 7
    assert not waiting.cancelled_caught


async def test_a_thousand_entries_arrive_in_order_and_none_is_lost(bus: Bus) -> None:
    async with following(bus, "default") as hints, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def publish() -> None:
            for revision in range(1, 1001):
                await bus.publish(notice(revision, "default"))

        heard = [(await next_notice(hints)).entry.revision for _ in range(1000)]
    assert heard == list(range(1, 1001))


async def test_a_nudge_reaches_every_follower_in_this_process(bus: Bus) -> None:
    async with following(bus, "default") as one, following(bus, "other") as two:
        bus.nudge()
        await wait_nudged(one)
        await wait_nudged(two)


async def test_a_follower_that_falls_behind_ends_with_a_nudge_and_never_blocks_the_publisher(bus: Bus) -> None:
    async with following(bus, "default") as hints, following(bus, "default") as quick:
        for revision in range(1, 1300):
            await bus.publish(notice(revision, "default"))
            await next_notice(quick)
        waiting = hints.statistics().current_buffer_used
        heard = [hints.receive_nowait() for _ in range(waiting)]
    assert isinstance(heard[-1], Nudge)


async def test_a_follower_that_has_left_is_forgotten_and_the_others_go_on(bus: Bus) -> None:
    with bus.follow("default"):
        pass
    async with following(bus, "default") as hints:
        with bus.follow("default"):
            pass
        await bus.publish(notice(1, "default"))
        assert await next_notice(hints) == notice(1, "default")
    await bus.publish(notice(2, "default"))
    bus.nudge()


async def test_a_publish_that_is_cancelled_leaves_a_bus_that_works(bus: Bus) -> None:
    async with following(bus, "default") as hints:
        for revision in range(1, 20):
            with trio.CancelScope() as scope:
                scope.cancel(reason="the test wants it so")
                await bus.publish(notice(revision, "default"))
        await bus.publish(notice(20, "default"))
        with trio.fail_after(5):
            while (await next_notice(hints)).entry.revision != 20:
                pass
