"""Each fault does what it says, and only that."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from sie.errors import OutcomeUnknown, RevisionTaken, StoreUnavailable
from sie.testing.store import FaultyStore, LandLate, Refuse, Rival, Silence, Slow
from tests.store.samples import entry, memory


async def _log(store: FaultyStore) -> list[str]:
    return [one.write_id for one in await store.inner.entries_since(store.origin)]


async def test_refused_means_nothing_happened_and_the_next_is_spared() -> None:
    store = FaultyStore(memory(), appends=[Refuse()])
    with pytest.raises(StoreUnavailable):
        await store.append(entry(store.origin + 1, "a"))
    assert await _log(store) == []
    await store.append(entry(store.origin + 1, "a"))
    assert await _log(store) == ["a"]


@pytest.mark.parametrize("landed", [True, False])
async def test_silence_hides_whether_it_landed(landed: bool) -> None:
    store = FaultyStore(memory(), appends=[Silence(landed)])
    with pytest.raises(OutcomeUnknown):
        await store.append(entry(store.origin + 1, "a"))
    assert await _log(store) == (["a"] if landed else [])


async def test_a_late_write_lands_after_so_many_operations() -> None:
    store = FaultyStore(memory(), appends=[LandLate(after=2)])
    with pytest.raises(OutcomeUnknown):
        await store.append(entry(store.origin + 1, "a"))
    seen = [len(await store.entries_since(store.origin)) for _ in range(3)]
    assert seen == [0, 0, 1]


async def test_a_late_write_finds_its_number_taken() -> None:
    store = FaultyStore(memory(), appends=[LandLate(after=1)])
    with pytest.raises(OutcomeUnknown):
        await store.append(entry(store.origin + 1, "a"))
    await store.append(entry(store.origin + 1, "b"))
    await store.entries_since(store.origin)
    await store.land_late_writes()
    assert await _log(store) == ["b"]


async def test_late_writes_can_be_landed_by_hand() -> None:
    store = FaultyStore(memory(), appends=[LandLate(after=100)])
    with pytest.raises(OutcomeUnknown):
        await store.append(entry(store.origin + 1, "a"))
    await store.land_late_writes()
    assert await _log(store) == ["a"]


async def test_a_rival_comes_first() -> None:
    store = FaultyStore(memory(), appends=[Rival(), Rival()])
    for n in (1, 2):
        with pytest.raises(RevisionTaken):
            await store.append(entry(store.origin + n, "a"))
    assert await _log(store) == ["rival-1", "rival-2"]


async def test_slow_takes_virtual_time_before_and_after(autojump_clock: MockClock) -> None:
    store = FaultyStore(memory(), appends=[Slow(before_s=3, after_s=4)])
    began = trio.current_time()
    with trio.move_on_after(5):
        await store.append(entry(store.origin + 1, "a"))
    assert trio.current_time() == began + 5
    assert await _log(store) == ["a"]


async def test_reads_and_saves_have_plans_of_their_own(autojump_clock: MockClock) -> None:
    store = FaultyStore(memory(), reads=[Refuse(), Slow(after_s=2)], saves=[Refuse()])
    await store.append(entry(store.origin + 1))
    with pytest.raises(StoreUnavailable):
        await store.entries_since(store.origin)
    began = trio.current_time()
    assert await store.load_snapshot() is None
    assert trio.current_time() == began + 2
    assert len(await store.entries_since(store.origin)) == 1
    with pytest.raises(StoreUnavailable):
        await store.save_snapshot(store.origin + 1, b"content")
    await store.save_snapshot(store.origin + 1, b"content")
    assert await store.load_snapshot() == b"content"
