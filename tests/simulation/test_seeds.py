"""Schedules that nobody has tried before, in every run of the tests. `make simulate` tries many more."""

from __future__ import annotations

import random

from sie.testing.simulation.search import search

COUNT = 2000


def test_no_guarantee_is_broken_by_schedules_nobody_has_tried_before() -> None:
    first = random.randrange(10**9)
    print(f"seeds {first} to {first + COUNT - 1}")
    found = search(first, COUNT, jobs=2)
    assert found.seed is None, (
        f"{found.guarantee} is broken; see how: python -m sie.testing.simulation --repeat {found.seed} --shorten"
    )
    assert found.tried == COUNT
