"""What is said of a load is what became of its requests."""

from __future__ import annotations

import json
import math
import random
from itertools import accumulate

import pytest

from bench.load.asking import Proof
from bench.load.generator import steady
from bench.load.outcome import UNANSWERED, Outcome, batches, highest, interval, percentile

LOAD = Outcome(
    seconds=2,
    deadline_ms=100,
    cpu=0.1,
    lag_ms=[0.1] * 8,
    took_ms=[10, 20, 30, 150, 1, 100, 5, 0],
    status=[200, 200, 200, 200, 503, 504, 0, UNANSWERED],
    batches_ms=[8, 9, 10],
)


def proof(**given: float) -> Proof:
    usual = {"rate": 30, "answered": 1, "lag_p50_ms": 0.1, "lag_p99_ms": 1, "p99_ms": 2, "cpu": 0.1}
    return Proof(**{**usual, **given})


def test_only_what_comes_in_time_is_good() -> None:
    assert LOAD.offered == 4
    assert LOAD.goodput == 1.5
    assert LOAD.late == 1
    assert LOAD.failed == 2
    said = LOAD.summary()
    assert (said["ok"], said["refused"], said["timed_out"], said["late"], said["failed"]) == (4, 1, 1, 1, 2)
    assert said["took_ms"] == {"p50": 20, "p95": 150, "p99": 150}
    assert said["batch_ms"] == 9


def test_a_load_without_an_answer_can_be_written_as_json() -> None:
    none = Outcome(seconds=1, deadline_ms=1, cpu=0, lag_ms=[0.5], took_ms=[1], status=[503])
    assert none.goodput == 0
    said = json.loads(json.dumps(none.summary(), allow_nan=False))
    assert said["took_ms"] == {"p50": None, "p95": None, "p99": None}


def test_a_percentile_is_a_duration_that_was_measured() -> None:
    assert [percentile(range(100, 0, -1), share) for share in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert math.isnan(percentile([], 50))


def test_answers_of_one_batch_count_as_one() -> None:
    assert batches([4.01, 4.01, 4.01, 7.5, 4.01]) == [4.01, 7.5, 4.01]
    assert batches([]) == []


def test_an_interval_holds_the_percentile_and_is_the_same_for_the_same_seed() -> None:
    chance = random.Random(1)
    runs = [[chance.expovariate(1) for _ in range(2000)] for _ in range(3)]
    low, high = interval(runs, 50, seed=1)
    assert low < math.log(2) < high
    assert high - low < 0.15
    assert interval(runs, 50, seed=1) == (low, high)
    assert all(map(math.isnan, interval([[]], 50, seed=1)))
    assert interval([[7.0]], 99, seed=1) == (7, 7)


def test_an_interval_is_wider_where_neighbours_are_alike() -> None:
    """As in a queue. Whoever drew single durations would say that both are equally sure."""
    chance = random.Random(1)
    walk = list(accumulate(chance.gauss(0, 1) for _ in range(3000)))
    shuffled = chance.sample(walk, len(walk))
    wide, narrow = (high - low for low, high in (interval([of], 50, seed=1) for of in (walk, shuffled)))
    assert wide > 3 * narrow


@pytest.mark.parametrize(("limit", "found"), [(5.0, 5.0), (7.3, 7.3), (20.0, 10.0), (0.5, None)])
def test_the_highest_rate_is_found_by_halving(limit: float, found: float | None) -> None:
    asked: list[float] = []

    def meets(rate: float) -> bool:
        asked.append(rate)
        return rate <= limit

    at = highest(meets, 1, 10, steps=10)
    assert at == (None if found is None else pytest.approx(found, abs=9 / 2**10))
    assert len(asked) <= 12
    if at is not None:
        assert at <= limit


def test_a_closed_loop_counts_from_a_batch_s_end_to_a_batch_s_end() -> None:
    """Two connections, answered together every second: two a second, wherever the loop begins and ends."""
    assert steady([10**9 * second for second in (3, 3, 4, 4, 5, 5)], 2) == 2
    assert steady([10**9], 2) == 0


def test_a_row_is_believed_if_the_generator_could_do_several_times_as_much_in_time() -> None:
    row = Outcome(seconds=1, deadline_ms=100, cpu=0, lag_ms=[1] * 10, took_ms=[50] * 10, status=[200] * 10)
    assert proof().holds([row])
    assert not proof(rate=29).holds([row])
    assert not proof(answered=0.9).holds([row])
    assert not proof(lag_p99_ms=6).holds([row])
    assert not proof(p99_ms=6).holds([row])
    late = Outcome(seconds=1, deadline_ms=100, cpu=0, lag_ms=[6] * 10, took_ms=[50] * 10, status=[200] * 10)
    assert not proof().holds([row, late])
