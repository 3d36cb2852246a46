"""A run, as JSON, JUnit XML and HTML. Pure, but for writing the file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from spec.clauses import Clause
from spec.page import page
from spec.run import Outcome

SUFFIXES = (".json", ".xml", ".html")
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One case of a report."""

    name: str
    clause: str
    sentence: str
    group: str
    shows: str
    status: str
    seconds: float
    reason: str
    doing: str
    expected: str
    actual: str

    @property
    def wrong(self) -> bool:
        return self.status in ("failed", "passed unexpectedly")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run against one target. `ended`: in UTC, ISO 8601."""

    implementation: str
    version: str
    target: str
    ended: str
    seconds: float
    lines: Sequence[Line]

    def counts(self) -> Mapping[str, int]:
        return Counter(one.status for one in self.lines)


def make_report(
    outcomes: Sequence[Outcome],
    clauses: Sequence[Clause],
    *,
    implementation: str,
    version: str,
    target: str,
    ended: str,
    seconds: float,
) -> Report:
    by_number = {one.number: one for one in clauses}
    lines = []
    for one in sorted(outcomes, key=lambda outcome: outcome.case.name):
        clause = by_number.get(one.case.clause)
        lines.append(
            Line(
                name=one.case.name,
                clause=one.case.clause,
                sentence=clause.sentence if clause else one.case.shows,
                group=clause.group if clause else one.case.group,
                shows=one.case.shows,
                status=one.status,
                seconds=round(one.seconds, 3),
                reason=one.reason,
                doing=one.doing,
                expected=one.expected,
                actual=one.actual,
            )
        )
    return Report(
        implementation=implementation, version=version, target=target, ended=ended, seconds=seconds, lines=lines
    )


def write_report(report: Report, path: Path) -> None:
    """By its suffix, one of SUFFIXES. Raises OSError."""
    match path.suffix:
        case ".json":
            content = as_json(report)
        case ".xml":
            content = as_junit(report)
        case _:
            content = page(report)
    path.write_text(content, encoding="utf-8")


def as_json(report: Report) -> str:
    lines = [{name: getattr(one, name) for name in Line.__slots__} for one in report.lines]
    kept = {name: getattr(report, name) for name in Report.__slots__ if name != "lines"}
    return json.dumps({"format": _FORMAT, **kept, "cases": lines}, ensure_ascii=False, indent=1) + "\n"


def read_report(text: str) -> Report:
    """A report as `as_json` wrote it. Raises ValueError."""
    try:
        value: Any = json.loads(text)
        if value.pop("format") != _FORMAT:
            raise ValueError("it is of another version of this suite")
        return Report(lines=[Line(**one) for one in value.pop("cases")], **value)
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"it is not a report of this suite: {fault}") from None


def as_junit(report: Report) -> str:
    """One suite a folder of cases, as CI systems read it. An expected failure counts as passed."""
    root = ElementTree.Element("testsuites", name=_clean(f"{report.implementation} {report.version}"))
    folders: dict[str, list[Line]] = {}
    for one in report.lines:
        folders.setdefault(one.name.rpartition("/")[0], []).append(one)
    for folder, lines in folders.items():
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=folder,
            tests=str(len(lines)),
            failures=str(sum(one.wrong for one in lines)),
            skipped=str(sum(one.status == "skipped" for one in lines)),
            errors="0",
            time=f"{sum(one.seconds for one in lines):.3f}",
            timestamp=report.ended,
        )
        for one in lines:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{folder}.{one.clause}",
                name=one.name.rpartition("/")[2],
                time=str(one.seconds),
            )
            if one.status == "skipped":
                ElementTree.SubElement(case, "skipped", message=_clean(one.reason))
            elif one.wrong:
                message = f"{one.clause} {one.sentence}"
                failure = ElementTree.SubElement(case, "failure", message=_clean(message), type=one.status)
                failure.text = _clean(told(one))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def told(line: Line) -> str:
    """A case that is wrong, for people."""
    if line.status == "passed unexpectedly":
        return f"It passed, and {line.reason}."
    parts = {"did": line.doing, "expected": line.expected, "got": line.actual}
    return "\n".join(f"{name}:\n" + "\n".join(f"  {one}" for one in text.splitlines()) for name, text in parts.items())


def _clean(text: str) -> str:
    """XML has no way to write most control characters, and answers may hold them."""
    return "".join(
        one if one in "\t\n" or " " <= one < "\ud800" or "\ue000" <= one <= "\ufffd" else "�" for one in text
    )
