"""Runs of a cluster that does everything right are never blamed; with one thing made wrong they always are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec.judge import judge, report
from tests.spec.judge.mutations import MUTATIONS
from tests.spec.judge.tiny import TinyCluster

SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(SEEDS)
def test_a_right_run_breaks_nothing(seed: int) -> None:
    chance = random.Random(seed)
    broken = judge(TinyCluster(chance).run(chance.randint(0, 80)))
    assert not broken, report(broken)


@pytest.mark.parametrize("name", MUTATIONS)
@settings(deadline=None)
@given(SEEDS)
def test_a_run_with_one_thing_made_wrong_breaks_its_guarantee(name: str, seed: int) -> None:
    chance = random.Random(seed)
    mutation, mutated = MUTATIONS[name], None
    while mutated is None:  # not every run has what can be made wrong
        mutated = mutation.make(TinyCluster(chance).run(80), chance)
    assert mutation.breaks in {one.guarantee for one in judge(mutated)}
