"""append_surely against every way a store can fail: it may say "unknown", and never a falsehood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from sie.catalog.entry import Entry
from sie.errors import OutcomeUnknown, RevisionTaken, StoreCorrupt, StoreUnavailable
from sie.store.append import append_surely
from sie.store.memory import MemoryStore
from sie.testing.store import Fault, FaultyStore, LandLate, Refuse, Rival, Silence, Slow
from tests.store.samples import entry, memory

_SECONDS = st.sampled_from([0.0, 0.3, 2.0, math.inf])
_SLOW = st.builds(Slow, before_s=_SECONDS, after_s=_SECONDS)
_APPENDS = st.lists(
    st.one_of(
        st.none(),
        st.just(Refuse()),
        st.builds(Silence, landed=st.booleans()),
        st.builds(LandLate, after=st.integers(0, 5)),
        st.just(Rival()),
        _SLOW,
    ),
    max_size=8,
)
_READS = st.lists(st.one_of(st.none(), st.just(Refuse()), _SLOW), max_size=5)
_DEADLINES = st.sampled_from([0.0, 0.1, 1.0, 5.0, 60.0])


@settings(max_examples=400, deadline=None)
@given(appends=_APPENDS, reads=_READS, deadline_s=_DEADLINES)
def test_whatever_fails_the_verdict_agrees_with_the_log(
    appends: list[Fault | None], reads: list[Refuse | Slow | None], deadline_s: float
) -> None:
    async def judge() -> None:
        store = FaultyStore(memory(), appends=appends, reads=reads)
        mine = entry(store.origin + 1, "mine")
        began = trio.current_time()
        verdict = await _verdict(store, deadline=began + deadline_s)
        assert trio.current_time() - began <= deadline_s
        await store.land_late_writes()
        log = list(await store.inner.entries_since(store.origin))
        if verdict is None:
            assert log == [mine]
        elif verdict is RevisionTaken:
            assert [one.write_id for one in log] == ["rival-1"]
        elif verdict is StoreUnavailable:
            assert mine not in log
        else:
            assert verdict is OutcomeUnknown
            assert trio.current_time() - began == deadline_s

    trio.run(judge, clock=MockClock(autojump_threshold=0))


@settings(max_examples=100, deadline=None)
@given(appends=_APPENDS, reads=_READS, patience_s=st.sampled_from([0.0, 0.2, 1.0, 10.0]))
def test_being_cancelled_leaves_at_most_the_entry_itself(
    appends: list[Fault | None], reads: list[Refuse | Slow | None], patience_s: float
) -> None:
    async def judge() -> None:
        store = FaultyStore(memory(), appends=appends, reads=reads)
        with trio.move_on_after(patience_s) as asking:
            await _verdict(store, deadline=trio.current_time() + 1000)
        if not asking.cancelled_caught:
            return
        await store.land_late_writes()
        log = await store.inner.entries_since(store.origin)
        assert [one.write_id for one in log] in ([], ["mine"], ["rival-1"])

    trio.run(judge, clock=MockClock(autojump_threshold=0))


async def _verdict(store: FaultyStore, *, deadline: float) -> type[Exception] | None:
    try:
        await append_surely(store, entry(store.origin + 1, "mine"), deadline=deadline)
    except (RevisionTaken, StoreUnavailable) as fault:
        return type(fault)
    return None


async def _outcome(
    appends: Sequence[Fault | None], reads: Sequence[Refuse | Slow | None] = ()
) -> type[Exception] | None:
    store = FaultyStore(memory(), appends=appends, reads=reads)
    return await _verdict(store, deadline=trio.current_time() + 10)


async def test_a_write_that_landed_in_silence_is_found_to_be_ours(autojump_clock: MockClock) -> None:
    assert await _outcome([Silence(landed=True)]) is None


async def test_a_write_that_was_lost_in_silence_is_put_again(autojump_clock: MockClock) -> None:
    assert await _outcome([Silence(landed=False)] * 5) is None


async def test_a_rival_found_after_silence_means_the_race_is_lost(autojump_clock: MockClock) -> None:
    assert await _outcome([Silence(landed=False), Rival()]) is RevisionTaken


async def test_a_put_that_a_gateway_repeated_is_still_ours() -> None:
    class Repeating(MemoryStore):
        async def append(self, entry: Entry) -> None:
            await super().append(entry)
            await super().append(entry)

    store = Repeating()
    mine = entry(store.origin + 1, "mine")
    await append_surely(store, mine, deadline=math.inf)
    assert await store.entries_since(store.origin) == [mine]


async def test_a_rival_met_at_the_first_try_is_one_even_if_it_cannot_be_read(autojump_clock: MockClock) -> None:
    assert await _outcome([Rival()], [Refuse()] * 100) is RevisionTaken


async def test_a_refusal_at_the_first_try_is_said_at_once(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert await _outcome([Refuse()]) is StoreUnavailable
    assert trio.current_time() == began


async def test_a_refusal_after_silence_is_not_taken_for_an_answer(autojump_clock: MockClock) -> None:
    assert await _outcome([Silence(landed=True), Refuse(), Refuse()]) is None
    assert await _outcome([Silence(landed=True), *[Refuse()] * 1000]) is OutcomeUnknown


async def test_an_occupant_that_cannot_be_read_is_asked_for_again(autojump_clock: MockClock) -> None:
    assert await _outcome([Silence(landed=True)], [Refuse(), Refuse()]) is None
    assert await _outcome([Silence(landed=True)], [Refuse()] * 1000) is OutcomeUnknown


async def test_an_append_that_hangs_is_unknown_at_the_deadline(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert await _outcome([Slow(before_s=math.inf)]) is OutcomeUnknown
    assert trio.current_time() == began + 10


async def test_after_the_deadline_nothing_is_sent(autojump_clock: MockClock) -> None:
    store = FaultyStore(memory())
    assert await _verdict(store, deadline=trio.current_time()) is StoreUnavailable
    assert list(await store.entries_since(store.origin)) == []


async def test_unknown_says_so_in_a_field_and_carries_its_cause(autojump_clock: MockClock) -> None:
    store = FaultyStore(memory(), appends=[Silence(landed=False)] * 1000)
    with pytest.raises(OutcomeUnknown) as caught:
        await append_surely(store, entry(store.origin + 1), deadline=trio.current_time() + 3)
    assert caught.value.fields == {"outcome": "unknown"}
    assert isinstance(caught.value.__cause__, OutcomeUnknown)


def test_a_corrupt_store_counts_as_one_that_refused() -> None:
    assert issubclass(StoreCorrupt, StoreUnavailable)
    assert not issubclass(StoreCorrupt, OutcomeUnknown)
