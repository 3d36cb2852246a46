"""NATS away, killed, flapping, frozen: the bus says so, costs nothing else, and is back when NATS is."""

from __future__ import annotations

import logging
import random

import pytest
import trio

from sie.bus.contract import Hint, Notice, Nudge
from sie.bus.nats import Connection, NatsBus
from sie.errors import BusUnavailable
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp
from tests.bus.made import (
    PATIENCE_S,
    answering,
    bus_threads,
    connected,
    describe,
    next_notice,
    notice,
    running,
    settings_for,
    wait_connected,
    wait_nudged,
)
from tests.bus.natsserver import NatsServer


async def publish_surely(bus: NatsBus, revision: int) -> None:
    """However often it takes: the server has just come back, which the bus may not know yet."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await bus.publish(notice(revision, "default"))
            except BusUnavailable:
                await trio.sleep(0.01)


async def wait_lost(bus: NatsBus) -> None:
    await wait_connected(bus, wanted=False)


async def test_without_a_server_the_bus_starts_at_once_says_why_and_connects_once_there_is_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = NatsServer()
    with trio.fail_after(1):
        async with running(settings_for(server)) as bus:
            assert not bus.connected
            with pytest.raises(BusUnavailable):
                await bus.publish(notice(1, "default"))
            with pytest.raises(BusUnavailable):
                await bus.sync("default", {})
    async with running(settings_for(server)) as bus:
        with bus.follow("default") as hints, server:
            await wait_connected(bus)
            await wait_nudged(hints)
            await bus.publish(notice(1, "default"))
            assert (await next_notice(hints)).entry.revision == 1
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any(f"127.0.0.1:{server.port}" in one and "refused" in one.lower() for one in said)
    assert not any(record.exc_info for record in caplog.records)


async def test_repeated_failures_for_one_reason_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    server = NatsServer()
    async with running(settings_for(server, nats_reconnect_s=0.01)):
        await trio.sleep(0.3)  # about thirty tries
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1


async def test_a_server_killed_and_started_again_is_found_again_and_followers_are_told_to_look(
    nats: NatsServer,
) -> None:
    async with connected(settings_for(nats)) as bus:
        with bus.follow("default") as hints:
            await wait_nudged(hints)
            before = bus.connection
            nats.kill()
            await wait_lost(bus)
            with pytest.raises(BusUnavailable):
                await bus.publish(notice(1, "default"))
            nats.start()
            await wait_connected(bus)
            assert bus.connection == Connection(True, before.count + 1)
            await wait_nudged(hints)
            await bus.publish(notice(2, "default"))
            assert (await next_notice(hints)).entry.revision == 2


async def test_while_the_server_flaps_whatever_was_confirmed_is_heard_or_a_nudge_comes_after_it(
    nats: NatsServer,
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    confirmed: set[int] = set()
    known: set[int] = set()
    last = 1_000_000

    async def publish(bus: NatsBus) -> None:
        for revision in range(1, last):
            try:
                await bus.publish(notice(revision, "default"))
                confirmed.add(revision)
            except BusUnavailable:
                await trio.sleep(0.01)

    async def follow(hints: trio.MemoryReceiveChannel[Hint]) -> None:
        while last not in known:
            if isinstance(hint := await hints.receive(), Nudge):
                known.update(confirmed)  # a look at the truth
            else:
                assert isinstance(hint, Notice)
                known.add(hint.entry.revision)

    async with connected(settings_for(nats, nats_reconnect_s=0.05)) as bus:
        with bus.follow("default") as hints:
            async with trio.open_nursery() as follower:
                follower.start_soon(follow, hints)
                async with trio.open_nursery() as publisher:
                    publisher.start_soon(publish, bus)
                    for _ in range(6):
                        await trio.sleep(chance.uniform(0.05, 0.3))
                        nats.kill()
                        await trio.sleep(chance.uniform(0, 0.1))
                        nats.start()
                    publisher.cancel_scope.cancel(reason="it has flapped enough")
                follower.cancel_scope.deadline = trio.current_time() + PATIENCE_S
                await publish_surely(bus, last)
    assert bus.connection.count > 2
    assert confirmed - known == set()


async def test_a_frozen_server_costs_a_publish_its_deadline_and_is_noticed_and_found_again(nats: NatsServer) -> None:
    async with connected(settings_for(nats, nats_publish_s=0.3, nats_ping_s=0.3, nats_connect_s=0.5)) as bus:
        with bus.follow("default") as hints:
            await wait_nudged(hints)
            nats.pause()
            began = trio.current_time()
            with pytest.raises(BusUnavailable) as unconfirmed:
                await bus.publish(notice(1, "default"))
            assert 0.3 <= trio.current_time() - began < 3
            assert "within 0.3 s" in unconfirmed.value.message
            await wait_lost(bus)
            nats.resume()
            await wait_connected(bus)
            await bus.publish(notice(2, "default"))
            while (await next_notice(hints)).entry.revision != 2:
                pass


async def test_a_server_that_freezes_for_a_moment_only_is_kept_and_what_was_sent_arrives(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(settings_for(nats, nats_publish_s=0.1, nats_ping_s=5.0)) as bus:
        with bus.follow("default") as hints:
            await wait_nudged(hints)
            nats.pause()
            for revision in (1, 2):
                with pytest.raises(BusUnavailable):
                    await bus.publish(notice(revision, "default"))
            nats.resume()
            for revision in (1, 2):
                assert (await next_notice(hints)).entry.revision == revision
            await bus.publish(notice(3, "default"))
            assert (await next_notice(hints)).entry.revision == 3
            assert bus.connection.count == 1
    assert [record.name for record in caplog.records if record.name.startswith(("nats", "asyncio"))] == []


@pytest.mark.parametrize("state", ["absent", "frozen", "frozen before"])
async def test_stopping_is_prompt_whatever_the_server_does_and_leaves_no_thread(nats: NatsServer, state: str) -> None:
    if state == "absent":
        nats.kill()
    elif state == "frozen before":
        nats.pause()
    bus = NatsBus(settings_for(nats), name="router-1", describe=describe)
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        if state == "frozen":
            await wait_connected(bus)
            nats.pause()
            with trio.move_on_after(0.05):
                await bus.publish(notice(1, "default", options="x" * 500_000))
        await trio.sleep(0.05)
        began = trio.current_time()
        nursery.cancel_scope.cancel(reason="stop")
    assert trio.current_time() - began < 2
    assert bus_threads() == set()
    assert not bus.connected
    with pytest.raises(BusUnavailable):
        await bus.publish(notice(1, "default"))


async def test_a_bus_can_be_stopped_at_any_moment_of_its_start(shared_nats: NatsServer) -> None:
    for moment in range(12):
        bus = NatsBus(settings_for(shared_nats), name="router-1", describe=describe)
        with trio.move_on_after(moment * 0.002):
            await bus.run()
        assert bus_threads() == set()


async def test_what_came_while_too_much_waited_is_answered_with_a_nudge(shared_nats: NatsServer) -> None:
    async with connected(settings_for(shared_nats, nats_backlog_bytes=2000)) as bus:
        with bus.follow("default") as hints:
            await wait_nudged(hints)
            async with connected(settings_for(shared_nats), name="router-2") as other:
                await other.publish(notice(1, "default", options="x" * 3000))
            await wait_nudged(hints)


async def test_one_of_several_servers_is_enough_and_when_it_dies_another_is_found(nats: NatsServer) -> None:
    with NatsServer() as second:
        urls = f"{nats.url}, {NatsServer().url},{second.url}"
        async with connected(settings_for(nats, nats_url=urls)) as bus:
            nats.kill()
            second.kill()
            await wait_lost(bus)
            second.start()
            await publish_surely(bus, 1)


async def test_a_catch_up_under_way_when_the_server_dies_says_so_in_its_time(nats: NatsServer) -> None:
    asked = trio.Event()

    async def never(_: SyncRequest) -> CaughtUp:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    async with connected(settings_for(nats, nats_sync_s=0.5)) as bus, trio.open_nursery() as nursery:
        nursery.start_soon(answering, bus, never)
        with pytest.raises(BusUnavailable) as silent:
            await sync_when_served(bus)
        assert asked.is_set()
        assert "within 0.5 s" in silent.value.message
        nats.kill()
        with pytest.raises(BusUnavailable):
            await bus.sync("default", {})
        nursery.cancel_scope.cancel(reason="done")


async def sync_when_served(bus: NatsBus) -> CaughtUp:
    """As soon as NATS knows of somebody who answers."""
    while True:
        try:
            return await bus.sync("default", {})
        except BusUnavailable as fault:
            if "nobody" not in fault.message:
                raise
