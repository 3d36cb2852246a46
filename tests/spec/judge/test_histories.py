"""Histories made by hand: right ones, which break nothing, and wrong ones, which break one guarantee and no other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spec.guarantees import GUARANTEES
from spec.history import Event
from spec.judge import judge
from tests.spec.judge.right import RIGHT
from tests.spec.judge.wrong import WRONG


def broken(history: Sequence[Event]) -> set[str]:
    return {one.guarantee for one in judge(history)}


CASES = [(name, why) for name, histories in WRONG.items() for why in histories]


@pytest.mark.parametrize(("guarantee", "why"), CASES, ids=[f"{name}: {why}" for name, why in CASES])
def test_a_wrong_history_breaks_its_guarantee_and_no_other(guarantee: str, why: str) -> None:
    assert broken(WRONG[guarantee][why]) == {guarantee}


@pytest.mark.parametrize("why", RIGHT)
def test_a_right_history_breaks_nothing(why: str) -> None:
    assert judge(RIGHT[why]) == []


def test_every_guarantee_has_wrong_histories() -> None:
    assert WRONG.keys() == GUARANTEES.keys()
    assert min(map(len, WRONG.values())) >= 3
