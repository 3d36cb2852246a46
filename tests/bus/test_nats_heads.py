"""Where routers stand, over NATS: who follows a bundle learns of more, who follows a router's heads of all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from sie.bus.contract import Elsewhere, Nudge
from sie.errors import BusUnavailable
from sie.wire.heads import HEADS_SUBJECT, Heads, write_heads
from tests.bus.made import PATIENCE_S, connected, next_elsewhere, running, settings_for, wait_nudged
from tests.bus.natsserver import NatsServer, Stranger

SAID = Heads(router_id="router-1", address="ab12", store="s", bundles={"default": 4}, known={"s": 5, "t": 6}, asks=True)


async def next_heads(heads: trio.MemoryReceiveChannel[Heads | Nudge]) -> Heads:
    with trio.fail_after(PATIENCE_S):
        while isinstance(one := await heads.receive(), Nudge):
            pass
    return one


@pytest.mark.parametrize("key", [None, "k"])
async def test_other_routers_hear_it_and_the_sayer_does_not(shared_nats: NatsServer, key: str | None) -> None:
    settings = settings_for(shared_nats, bus_key=key)
    async with connected(settings) as one, connected(settings, name="router-2") as two:
        with one.follow_heads() as own, two.follow_heads() as others:
            for channel in (own, others):
                await wait_nudged(channel)  # from here on nothing is missed
            await one.say_heads(SAID)
            await two.say_heads(replace(SAID, router_id="router-2", address=two.address))
            assert await next_heads(others) == SAID
            assert await next_heads(own) == replace(SAID, router_id="router-2", address=two.address)


async def test_who_follows_a_bundle_is_told_of_its_newest_revision_there(shared_nats: NatsServer) -> None:
    settings = settings_for(shared_nats)
    async with connected(settings) as one, connected(settings, name="worker") as worker:
        with worker.follow("default") as hints, worker.follow("other") as other, worker.follow_all() as everything:
            for channel in (hints, other, everything):
                await wait_nudged(channel)
            await one.say_heads(SAID)
            assert await next_elsewhere(hints) == Elsewhere("s", 4)
            assert await next_elsewhere(other) == Elsewhere("s", 0)  # which names the store all the same
            with pytest.raises(trio.WouldBlock):
                everything.receive_nowait()


async def test_heads_are_asked_for_anew_whenever_nats_is_back() -> None:
    server = NatsServer()
    with server:
        async with connected(settings_for(server, nats_reconnect_s=0.05)) as bus:
            await trio.sleep(0.1)  # what the first connection said of it is not what is waited for
            with bus.follow_heads() as heads:
                server.kill()
                server.start()
                await wait_nudged(heads)


async def test_without_nats_it_is_said_that_nobody_heard() -> None:
    with NatsServer() as server:
        settings = settings_for(server)
    async with running(settings) as bus:
        with pytest.raises(BusUnavailable):
            await bus.say_heads(SAID)


async def test_garbage_and_forgeries_are_counted_and_tell_nobody_anything(shared_nats: NatsServer) -> None:
    settings = settings_for(shared_nats, bus_key="k")
    async with connected(settings, name="worker") as bus, Stranger(shared_nats) as mallory:
        with bus.follow("default") as hints, bus.follow_heads() as heads:
            await wait_nudged(hints)
            for said in (b"garbage", b"{}", write_heads(SAID, key=None), write_heads(SAID, key=b"other")):
                await mallory.say(HEADS_SUBJECT, said)
            await mallory.say(HEADS_SUBJECT, write_heads(SAID, key=b"k"))
            assert await next_elsewhere(hints) == Elsewhere("s", 4)
            assert await next_heads(heads) == SAID
        assert bus.statistics().ignored == {"malformed": 1, "forged": 3}
