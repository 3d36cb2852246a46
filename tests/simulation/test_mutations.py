"""Each known way to lose, planted in our own code, is seen: the simulation is known to bite."""

from __future__ import annotations

import pytest

from sie.testing.simulation.search import search
from tests.simulation.mutations import MUTATIONS

# By far most are seen within a few schedules; the others are for the slow run.
SOON = 60
RARE = frozenset(
    {
        "a-doubt-is-settled-unheard",
        "a-gap-counts-as-applied",
        "news-is-answered-with-news",  # and seen in test_found.py each time
        "our-own-entry-is-taken-for-anothers",
        "silence-is-answered-as-refusal",
        "silence-is-not-asked-again",
        "the-first-error-ends-the-looking",
        "what-was-not-read-is-absent",
    }
)


@pytest.mark.parametrize("name", [one for one in MUTATIONS if one not in RARE])
def test_what_is_planted_is_seen_soon(name: str) -> None:
    found = search(0, SOON, jobs=1, prepare=MUTATIONS[name].plant)
    assert found.seed is not None, f"{name}: nothing was broken in {found.tried} schedules"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RARE))
def test_what_is_planted_is_seen_within_ten_thousand_schedules(name: str) -> None:
    found = search(0, 10_000, jobs=2, prepare=MUTATIONS[name].plant)
    assert found.seed is not None, f"{name}: nothing was broken in {found.tried} schedules"
