"""Judging a history: which guarantees it breaks, and what shows it. `python -m spec judge FILE…` judges files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spec.evidence import Evidence
from spec.guarantees import GUARANTEES
from spec.history import BadHistory, Event, event_line, read_history

_USAGE = "usage: python -m spec judge FILE...\nEach FILE is a history: one event a line, as JSON.\n"


@dataclass(frozen=True, slots=True)
class Violation:
    """A guarantee that is broken: its name, how, and the few events that show it. Listings are cut to what matters."""

    guarantee: str
    says: str
    events: Sequence[Event]

    def __str__(self) -> str:
        return "\n    ".join([f"{self.guarantee}: {self.says}", *map(event_line, self.events)])


def judge(history: Iterable[Event]) -> Sequence[Violation]:
    """All that is broken, by guarantee in the order of GUARANTEES; nothing, of a right history.

    What had no answer may have happened or not: whatever explains all that was seen is believed.
    """
    evidence = Evidence(history)
    return [Violation(name, says, events) for name, holds in GUARANTEES.items() for says, events in holds(evidence)]


def main(argv: Sequence[str]) -> int:
    """Judge the files. Returns 0 if nothing is broken, 1 if something is, 2 if a file cannot be read."""
    if not argv or any(one.startswith("-") for one in argv):
        sys.stderr.write(_USAGE)
        return 2
    status = 0
    for name in argv:
        try:
            with Path(name).open(encoding="utf-8") as file:
                history = read_history(file)
        except (OSError, UnicodeDecodeError, BadHistory) as fault:
            sys.stderr.write(f"{name}: {fault}\n")
            return 2
        broken = judge(history)
        print(f"{name}: {len(history)} events, {_summary(broken)}")
        if broken:
            print(report(broken))
            status = 1
    return status


def report(broken: Sequence[Violation]) -> str:
    """Of each broken guarantee the instance that fewest events show, and how many more there are."""
    by_guarantee: dict[str, list[Violation]] = {}
    for one in broken:
        by_guarantee.setdefault(one.guarantee, []).append(one)
    lines = []
    for those in by_guarantee.values():
        lines.append(str(min(those, key=lambda one: sum(len(event_line(event)) for event in one.events))))
        if len(those) > 1:
            lines.append(f"    and {len(those) - 1} more")
    return "\n".join(lines)


def _summary(broken: Sequence[Violation]) -> str:
    names = list(dict.fromkeys(one.guarantee for one in broken))
    return f"broken: {', '.join(names)}" if names else "nothing broken"
