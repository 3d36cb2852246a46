"""Reports of a run, and the table made of them."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spec import table
from spec.case import Case
from spec.clauses import Clause
from spec.page import page
from spec.report import Report, as_json, as_junit, make_report, read_report, write_report
from spec.run import Outcome, Status

CLAUSES = [
    Clause(number="C-001", sentence="A model is <listed>.", group="Listing"),
    Clause(number="C-002", sentence="It is created once.", group="Adding"),
    Clause(number="X-001", sentence="A key repeats.", group="Keys"),
]
ODD = "<script>\x00\x1b[31m ]]> \ud800 & é 😀"


def outcome(name: str, clause: str, status: Status, **keys: str) -> Outcome:
    case = Case(name=name, clause=clause, shows=f"{name} shows it.", needs=(), steps=())
    return Outcome(case=case, status=status, seconds=0.25, **keys)


def report(outcomes: Sequence[Outcome], *, implementation: str = "SIE", version: str = "1") -> Report:
    return make_report(
        outcomes,
        CLAUSES,
        implementation=implementation,
        version=version,
        target="http://127.0.0.1:1",
        ended="2026-01-01T00:00:00+00:00",
        seconds=1.5,
    )


WHOLE = report(
    [
        outcome("adding/once", "C-002", "failed", doing="POST /\n\nbody", expected="201", actual=ODD),
        outcome("listing/lists", "C-001", "passed"),
        outcome("keys/a", "X-001", "skipped", reason="needs a second router"),
        outcome("keys/b", "X-001", "failed as expected", doing="GET /", expected="200", actual="404"),
        outcome("keys/c", "X-001", "passed unexpectedly", reason="it is listed as an expected failure"),
        outcome("keys/d", "X-009", "passed"),
    ]
)


def test_json_is_read_back_as_it_was_written() -> None:
    plain = report([outcome("adding/once", "C-002", "failed", doing="a", expected="b", actual="\x00 é 😀")])
    assert read_report(as_json(plain)) == plain
    assert [one.name for one in WHOLE.lines] == sorted(one.name for one in WHOLE.lines)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "cases": [{}]}', '{"format": 1}'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_report(text)


def test_junit_counts_as_ci_systems_do() -> None:
    root = ElementTree.fromstring(as_junit(WHOLE))
    suites = {one.get("name"): one for one in root}
    assert {name: (one.get("tests"), one.get("failures"), one.get("skipped")) for name, one in suites.items()} == {
        "adding": ("1", "1", "0"),
        "keys": ("4", "1", "1"),
        "listing": ("1", "0", "0"),
    }
    failure = suites["adding"].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "C-002 It is created once."
    assert "POST /" in str(failure.text)
    assert "<script>" in str(failure.text)
    assert suites["keys"].findall("testcase[@name='b']/*") == []


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_what_came_from_outside_is_text() -> None:
    tags = Tags()
    tags.feed(page(WHOLE))
    tags.close()
    assert tags.open == []
    assert not tags.seen & {"script", "link", "img"}
    for words in ("needs a second router", "keys/b shows it.", "<script>", "1 failed, 1 failed as expected, 2 passed"):
        assert words in tags.text


def test_a_file_is_written_by_its_suffix(tmp_path: Path) -> None:
    clean = report([outcome("listing/lists", "C-001", "passed")])
    for suffix, begins in ((".json", "{"), (".xml", "<?xml"), (".html", "<!doctype html>")):
        write_report(clean, tmp_path / f"report{suffix}")
        assert (tmp_path / f"report{suffix}").read_text().startswith(begins)


def test_a_table_has_a_column_for_each_implementation_and_takes_the_worst_of_its_runs() -> None:
    again = report(
        [
            outcome("listing/lists", "C-001", "failed", doing="a", expected="b", actual="c"),
            outcome("keys/a", "X-001", "passed"),
            outcome("keys/b", "X-001", "skipped", reason="r"),
        ]
    )
    other = report([outcome("listing/lists", "C-001", "passed")], implementation="other", version="2")
    assert [line for line in table.results([WHOLE, again, other]).splitlines() if line.startswith("|")] == [
        "| clauses about | SIE 1 | other 2 |",
        "| --- | --- | --- |",
        "| Listing | 0 / 1 / 0 | 1 / 0 / 0 |",
        "| Adding | 0 / 1 / 0 | – |",
        "| Keys | 1 / 2 / 0 | – |",
        "| keys | 1 / 0 / 0 | – |",
        "| **all** | 2 / 4 / 0 | 1 / 0 / 0 |",
    ]


def test_the_table_is_written_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme, file = tmp_path / "README.md", tmp_path / "report.json"
    monkeypatch.setattr(table, "README", readme)
    file.write_text(as_json(report([outcome("listing/lists", "C-001", "passed")])))
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    assert table.main([str(file)]) == 0
    assert table.main([str(file)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- results -->\n\n| clauses about | SIE 1 |")
    assert text.endswith("\n<!-- /results -->\nafter\n")
    assert "old" not in text


def test_a_table_that_cannot_be_written_is_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme, file = tmp_path / "README.md", tmp_path / "report.json"
    monkeypatch.setattr(table, "README", readme)
    readme.write_text("no marks\n")
    file.write_text(
        as_json(WHOLE.__class__(**{name: getattr(WHOLE, name) for name in WHOLE.__slots__} | {"lines": []}))
    )
    assert [table.main(argv) for argv in ([], [str(tmp_path / "none.json")], [str(readme)], [str(file)])] == [
        2,
        2,
        2,
        2,
    ]
    assert readme.read_text() == "no marks\n"
