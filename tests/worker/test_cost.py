"""What batches cost, learned from batches whose cost is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.worker.cost import Cost

CEILING, START, SHARE = 16_384, 512, 0.03


def learned(per_batch: float, per_token: float, sizes: list[int], noise: random.Random | None = None) -> Cost:
    cost = Cost()
    for size in sizes:
        held_up = noise.choice((1.0, 1.1, 1.2, 30.0)) if noise else 1.0
        cost.note(size, (per_batch + per_token * size) * held_up)
    return cost


@given(
    st.floats(min_value=1e-4, max_value=0.1),
    st.floats(min_value=1e-7, max_value=1e-3),
    st.lists(st.integers(min_value=10, max_value=CEILING), min_size=1, max_size=30),
)
def test_both_parts_are_found(per_batch: float, per_token: float, sizes: list[int]) -> None:
    cost = learned(per_batch, per_token, [16, 4000, *sizes])
    for size in (16, 300, 4000):
        # Batches of one class of sizes count as one of their mean size, of which the newest are the greater part.
        assert cost.seconds(size) == pytest.approx(per_batch + per_token * size, rel=0.02)


def test_now_and_then_one_that_is_held_up_changes_little() -> None:
    noise = random.Random(7)
    cost = learned(0.01, 0.0002, [2 ** noise.randint(4, 11) for _ in range(400)], noise)
    assert cost.seconds(1024) == pytest.approx(0.01 + 0.0002 * 1024, rel=1.0)


def test_a_budget_grows_in_steps_to_where_a_batch_as_such_costs_its_share() -> None:
    cost, budgets = Cost(), []
    for _ in range(8):
        budgets.append(cost.budget(CEILING, START, SHARE))
        cost.note(budgets[-1], 0.010 + 0.0001 * budgets[-1])
    assert budgets[:3] == [512, 1024, 2048]
    assert budgets[-1] == pytest.approx(100 * (1 / SHARE - 1), rel=0.02)
    assert cost.batch_in_tokens == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(
    ("per_batch", "per_token", "wanted"),
    [
        (0.0, 0.0001, START),  # nothing is gained by larger ones
        (0.005, 1e-6, CEILING),  # a GPU: a token costs next to nothing
        (0.005, 0.0, CEILING),
    ],
)
def test_a_budget_is_between_where_it_starts_and_the_ceiling(per_batch: float, per_token: float, wanted: int) -> None:
    cost = Cost()
    for _ in range(12):
        cost.note(16, per_batch + per_token * 16)
        size = cost.budget(CEILING, START, SHARE)
        cost.note(size, per_batch + per_token * size)
    assert cost.budget(CEILING, START, SHARE) == wanted
    assert cost.budget(100, START, SHARE) == min(100, wanted)


def test_a_share_of_nothing_leaves_the_ceiling_alone() -> None:
    assert Cost().budget(CEILING, START, 0) == CEILING
    assert learned(0.0, 0.0001, [16, 512]).budget(CEILING, START, 0) == CEILING


def test_what_took_no_time_tells_nothing() -> None:
    cost = learned(0.0, 0.0, [16, 512, 4000])
    assert cost.seconds(4000) == 0
    assert cost.batch_in_tokens == 0
    assert cost.budget(CEILING, START, SHARE) == START
