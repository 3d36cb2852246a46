"""spec/README.md says what the code says."""

from __future__ import annotations

import inspect

from spec.guarantees import GUARANTEES
from tests.marks import between
from tests.simulation.mutations import MUTATIONS


def section(name: str) -> list[str]:
    """The table's rows between the markers of that name."""
    return [line for line in between(name) if line.startswith("| ")]


def test_every_guarantee_is_listed_with_its_sentence() -> None:
    wanted = [f"| `{name}` | {' '.join((inspect.getdoc(one) or '').split())} |" for name, one in GUARANTEES.items()]
    assert section("guarantees")[2:] == wanted


def test_every_mutation_is_listed_and_was_seen() -> None:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section("mutations")[1:]]
    assert [row[:2] for row in rows] == [[one.what, one.like] for one in MUTATIONS.values()]
    assert all(row[2].startswith("`") and int(row[3]) <= 10_000 for row in rows)
