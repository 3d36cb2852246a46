"""The table of results in README.md: a column for each implementation, a row for each group of clauses."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from spec.clauses import README
from spec.report import Line, Report, read_report

_BETWEEN = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
_WORST_LAST = ("skipped", "passed", "failed as expected", "passed unexpectedly", "failed")


def main(argv: Sequence[str]) -> int:
    """`python -m spec table REPORT.json…`: write README.md's table anew. 2 if a report cannot be read."""
    if not argv:
        print("usage: python -m spec table REPORT.json…", file=sys.stderr)
        return 2
    reports: list[Report] = []
    for name in argv:
        try:
            reports.append(read_report(Path(name).read_text(encoding="utf-8")))
        except (OSError, ValueError) as fault:
            print(f"{name}: {fault}", file=sys.stderr)
            return 2
    text = README.read_text(encoding="utf-8")
    if not _BETWEEN.search(text):
        print(f"{README} lacks the marks <!-- results --> and <!-- /results -->", file=sys.stderr)
        return 2
    table = results(reports)
    README.write_text(_BETWEEN.sub(lambda found: f"{found[1]}{table}{found[2]}", text), encoding="utf-8")
    print(table, end="")
    return 0


def results(reports: Sequence[Report]) -> str:
    """Markdown. Several reports of one implementation and version are one column: a case counts with its worst end.

    Pure.
    """
    columns: dict[str, dict[str, Line]] = {}
    for report in reports:
        column = columns.setdefault(f"{report.implementation} {report.version}", {})
        for line in report.lines:
            known = column.get(line.name)
            if known is None or _WORST_LAST.index(known.status) < _WORST_LAST.index(line.status):
                column[line.name] = line
    groups: dict[str, None] = {}
    for column in columns.values():
        groups |= dict.fromkeys(line.group for line in sorted(column.values(), key=lambda one: one.clause))
    rows = [["clauses about", *columns], ["---"] * (len(columns) + 1)]
    for group in groups:
        rows.append(
            [group, *(_cell(one for one in column.values() if one.group == group) for column in columns.values())]
        )
    rows.append(["**all**", *(_cell(column.values()) for column in columns.values())])
    told = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"\n{told}\n\nPassed / failed / skipped, in cases.\n\n"


def _cell(lines: Iterable[Line]) -> str:
    known = list(lines)
    if not known:
        return "–"
    passed = sum(one.status == "passed" for one in known)
    skipped = sum(one.status == "skipped" for one in known)
    return f"{passed} / {len(known) - passed - skipped} / {skipped}"
