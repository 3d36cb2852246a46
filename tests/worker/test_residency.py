"""The residency table: every move, legal or not, and who has to go."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.worker.identity import LoadIdentity
from sie.worker.residency import NEXT, Event, IllegalMove, Residency, State, Verdict

PATHS: dict[State, list[Event]] = {
    State.AVAILABLE: [],
    State.LOADING: [Event.WANTED],
    State.RESIDENT: [Event.WANTED, Event.LOADED],
    State.UNLOADING: [Event.WANTED, Event.LOADED, Event.EVICTED],
    State.FAILED: [Event.WANTED, Event.LOAD_FAILED],
}


def identity(name: str) -> LoadIdentity:
    return LoadIdentity(
        implementation="m:C",
        weights=name,
        is_path=False,
        trusted=False,
        revision=None,
        precision=None,
        max_sequence_length=None,
        loadtime_json=b"{}",
    )


def resident(table: Residency, name: str, memory_bytes: int, used_at: float) -> LoadIdentity:
    one = identity(name)
    table.move(one, Event.WANTED)
    table.loaded(one, memory_bytes, used_at)
    return one


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)), ids=str)
def test_each_event_in_each_state_moves_as_the_table_says_or_changes_nothing(state: State, event: Event) -> None:
    table, one = Residency(), identity("a")
    for step in PATHS[state]:
        table.move(one, step)
    assert table.place(one).state is state
    if (state, event) in NEXT:
        assert table.move(one, event) is NEXT[state, event]
    else:
        with pytest.raises(IllegalMove) as refused:
            table.move(one, event)
        assert state.value in str(refused.value)
        assert table.place(one).state is state


def test_every_state_can_be_reached_and_left() -> None:
    assert set(NEXT.values()) == set(State)
    assert {before for before, _ in NEXT} == set(State)


def test_failures_back_off_twice_as_long_each_time_up_to_the_most() -> None:
    table, one, waits = Residency(), identity("a"), []
    for _ in range(40):
        table.move(one, Event.WANTED)
        table.failed(one, "no", 100.0, first_s=5, most_s=300)
        waits.append(table.place(one).retry_at - 100.0)
    assert waits[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert waits[-1] == 300
    table.move(one, Event.WANTED)
    table.loaded(one, 1, 0.0)
    assert table.place(one).failures == 0


def test_the_one_used_longest_ago_goes_first_and_no_more_than_needed() -> None:
    table = Residency(100)
    old = resident(table, "old", 40, used_at=1)
    resident(table, "young", 40, used_at=3)
    new = identity("new")
    table.move(new, Event.WANTED)
    assert table.room_for(new, 20).victims == ()
    assert table.room_for(new, 60).victims == (old,)
    table.place(old).used_at = 4
    assert [str(one) for one in table.room_for(new, 60).victims] == ["young"]


def test_a_model_with_work_in_hand_is_waited_for() -> None:
    table = Residency(100)
    busy = resident(table, "busy", 80, used_at=1)
    table.place(busy).holds = 1
    new = identity("new")
    table.move(new, Event.WANTED)
    assert table.room_for(new, 50).verdict is Verdict.WAIT
    assert table.room_for(new, 101).verdict is Verdict.NEVER


@given(
    st.integers(min_value=1, max_value=100),
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.booleans()), max_size=6),
    st.integers(min_value=1, max_value=120),
)
def test_what_fits_fits_and_nobody_busy_has_to_go(
    budget: int, models: list[tuple[int, int, bool]], wanted: int
) -> None:
    table = Residency(budget)
    for number, (memory_bytes, used_at, busy) in enumerate(models):
        table.place(resident(table, str(number), memory_bytes, used_at)).holds = int(busy)
    new = identity("new")
    table.move(new, Event.WANTED)
    room = table.room_for(new, wanted)
    assert (room.verdict is Verdict.NEVER) == (wanted > budget)
    assert not any(table.place(victim).holds for victim in room.victims)
    freed = sum(table.place(victim).memory_bytes for victim in room.victims)
    fits = table.used_bytes() - freed + wanted <= budget
    assert fits == (room.verdict is Verdict.FITS)
    if room.victims:
        without_last = freed - table.place(room.victims[-1]).memory_bytes
        assert table.used_bytes() - without_last + wanted > budget
