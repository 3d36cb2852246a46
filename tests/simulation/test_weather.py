"""The simulated edges fail as they are told to, and in no other way."""

from __future__ import annotations

import pytest
import trio

from sie.bus.events import Message, Subject, Up
from sie.errors import OutcomeUnknown, StoreUnavailable
from sie.settings import Settings
from sie.testing.simulation.broker import Broker, BusWeather, Link
from sie.testing.simulation.store import Disk, SimulatedStore, StoreWeather
from sie.testing.simulation.world import Life, World
from tests.simulation.edges import passing_time
from tests.store.samples import entry

TIMEOUT_S = 2.0


async def stored_under(world: World, weather: StoreWeather) -> tuple[type[Exception] | None, int, int]:
    """What an append meets, how many entries are there at once, and how many in the end."""
    disk = Disk(world, 0)
    disk.weather = weather
    store = SimulatedStore(disk, Life("process"), timeout_s=TIMEOUT_S)
    met: type[Exception] | None = None
    try:
        await store.append(entry(1))
    except StoreUnavailable as fault:
        met = type(fault)
    at_once = len(disk.entries)
    await trio.sleep(100)
    return met, at_once, len(disk.entries)


@pytest.mark.parametrize(
    ("weather", "wanted"),
    [
        (StoreWeather(), (None, 1, 1)),
        (StoreWeather(refused=1), (StoreUnavailable, 0, 0)),
        (StoreWeather(lost=1), (OutcomeUnknown, 0, 0)),
        (StoreWeather(unheard=1), (OutcomeUnknown, 1, 1)),
        (StoreWeather(late=1), (OutcomeUnknown, 0, 1)),
    ],
)
async def test_an_append_meets_the_weather(
    autojump_clock: trio.testing.MockClock, weather: StoreWeather, wanted: tuple[type[Exception] | None, int, int]
) -> None:
    async with passing_time() as world:
        assert await stored_under(world, weather) == wanted


async def test_a_read_in_bad_weather_is_an_error_and_never_empty(autojump_clock: trio.testing.MockClock) -> None:
    async with passing_time() as world:
        for weather in (StoreWeather(refused=1), StoreWeather(lost=1), StoreWeather(unheard=1), StoreWeather(late=1)):
            disk = Disk(world, 0)
            disk.weather = weather
            with pytest.raises(StoreUnavailable):
                await SimulatedStore(disk, Life("process"), timeout_s=TIMEOUT_S).entries_since(0)


async def heard_under(world: World, weather: BusWeather, count: int = 20) -> list[bytes]:
    broker = Broker(world)
    async with trio.open_nursery() as nursery:
        listener, speaker = (Link(broker, Life(name), Settings()) for name in ("listener", "speaker"))
        listener.listen(Subject("a.b"))
        for link in (listener, speaker):
            await nursery.start(link.run)
            assert [type(one) for one in await link.receive()] == [Up]
        broker.weather = weather
        for number in range(count):
            await speaker.publish([Message("a.b", b"%d" % number)])
        heard: list[bytes] = []
        with trio.move_on_after(60):
            while True:
                heard += [one.content for one in await listener.receive() if isinstance(one, Message)]
        nursery.cancel_scope.cancel(reason="the test is done")
    return heard


async def test_messages_meet_the_weather(autojump_clock: trio.testing.MockClock) -> None:
    async with passing_time() as world:
        all_of_them = [b"%d" % number for number in range(20)]
        assert await heard_under(world, BusWeather()) == all_of_them
        assert await heard_under(world, BusWeather(drop=1)) == []
        assert sorted(await heard_under(world, BusWeather(double=1))) == sorted(all_of_them * 2)
        reordered = await heard_under(world, BusWeather(reorder=1))
        assert sorted(reordered) == sorted(all_of_them)
        assert reordered != all_of_them
