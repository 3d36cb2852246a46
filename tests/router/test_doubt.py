"""A write that was answered with `unknown` does not stay so: it is there and told of, or never will be."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from sie.errors import OutcomeUnknown
from sie.flow import Order
from sie.settings import Settings
from sie.store.memory import MemoryStore
from sie.testing.store import FaultyStore, LandLate, Silence
from tests.pages import FIRST
from tests.router.test_writer import RecordingBus, change, writer_over


class _Durable(MemoryStore):
    """As if it outlived the process: only of such a store there can be doubt."""

    durable = True


@pytest.mark.parametrize("landed", [True, False])
async def test_a_write_in_doubt_is_put_again_until_it_is_there_and_then_told_of(
    autojump_clock: MockClock, landed: bool
) -> None:
    bus, settings = RecordingBus(), Settings(commit_timeout_s=1, restore=True)
    store = FaultyStore(inner := _Durable(), appends=[Silence(landed)] + [LandLate(10**6)] * 1000)
    async with writer_over(store, bus, settings) as writer:
        with pytest.raises(OutcomeUnknown):
            await writer.submit(Order(change=change(FIRST)))
        if landed:
            store._appends = iter([])
        await trio.sleep(60)
        assert len(bus.published) == landed
        store._appends = iter([])
        await trio.sleep(10)
        (entry,) = await inner.entries_since(inner.origin)
        assert bus.published == [entry.revision] == [writer.head.revision]
        await store.land_late_writes()
        assert (await writer.submit(Order(change=change(FIRST)))).status == 200
        assert list(await inner.entries_since(inner.origin)) == [entry]
        assert writer.head.trouble is None


async def test_a_write_in_doubt_whose_number_went_to_another_is_given_up(autojump_clock: MockClock) -> None:
    bus, settings = RecordingBus(), Settings(commit_timeout_s=1, restore=True)
    store = FaultyStore(inner := _Durable(), appends=[LandLate(10**6)] * 1000)
    async with writer_over(store, bus, settings) as writer, writer_over(inner) as other:
        with pytest.raises(OutcomeUnknown):
            await writer.submit(Order(change=change(FIRST)))
        won = await other.submit(Order(change=change(FIRST)))
        store._appends = iter([])
        await trio.sleep(10)
        await store.land_late_writes()
        assert writer.head.revision == won.revision
        assert bus.published == []
        assert len(await inner.entries_since(inner.origin)) == 1
