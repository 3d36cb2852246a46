"""Models take turns on the device by the time they had of it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sie.worker.rotation import Rotation


def served(rotation: Rotation[str], costs: dict[str, float], until_s: float, waited: dict[str, float]) -> Counter[str]:
    had: Counter[str] = Counter()
    while sum(had.values()) < until_s:
        key = rotation.next()
        assert key is not None
        rotation.charge(key, costs[key], waited.get(key, 0.0))
        had[key] += costs[key]  # type: ignore[assignment]  # seconds
    return had


@given(st.floats(min_value=0.001, max_value=2), st.floats(min_value=0.001, max_value=2))
def test_those_that_wait_have_the_same_time_whatever_their_batches_take(a: float, b: float) -> None:
    rotation: Rotation[str] = Rotation()
    rotation.join("a")
    rotation.join("b")
    had = served(rotation, {"a": a, "b": b}, 20, {})
    assert abs(had["a"] - had["b"]) <= 2 * max(a, b)


def test_the_one_whose_queue_is_older_has_more_of_it_but_not_all() -> None:
    rotation: Rotation[str] = Rotation()
    rotation.join("new")
    rotation.join("old")
    had = served(rotation, {"new": 0.1, "old": 0.1}, 90, {"old": 3600.0})
    assert 7 < had["old"] / had["new"] < 9


def test_one_that_comes_is_next_and_is_owed_nothing_for_the_time_before() -> None:
    rotation: Rotation[str] = Rotation()
    rotation.join("busy")
    for _ in range(1000):
        rotation.charge("busy", 1.0)
    rotation.join("late")
    assert rotation.next() == "late"
    had = served(rotation, {"busy": 1.0, "late": 1.0}, 10, {})
    assert had == {"busy": 5, "late": 5}


def test_leaving_and_coming_back_does_not_make_up_for_what_it_had() -> None:
    rotation: Rotation[str] = Rotation()
    rotation.join("steady")
    had: Counter[str] = Counter()
    for _ in range(1000):
        rotation.join("greedy")  # one request at a time, each of two seconds
        key = rotation.next()
        assert key is not None
        rotation.charge(key, 2.0 if key == "greedy" else 0.1)
        had[key] += 20 if key == "greedy" else 1
        rotation.leave("greedy")
    assert abs(had["steady"] - had["greedy"]) <= 40


def test_nothing_waits_nothing_is_next_and_nothing_is_kept() -> None:
    rotation: Rotation[str] = Rotation()
    rotation.join("a")
    rotation.join("b")
    rotation.leave("a")
    rotation.charge("a", 5.0)  # what it had sent before it left
    rotation.leave("b")
    rotation.leave("b")
    rotation.charge("b", 5.0)
    assert rotation.next() is None
    assert len(rotation) == 0
    rotation.join("b")
    rotation.join("a")
    assert rotation.next() == "a"  # all begin anew once nothing waited
