"""The lint: each kind of wrong case is caught, and the suite has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spec import lint
from spec.case import Case, read_cases
from spec.clauses import Clause, read_clauses
from spec.lint import lint_case

REFUSED: dict[str, Any] = {"post": "/v1/configs/models", "body": "x: [", "expect": {"status": 400}, "cured": "x: []"}
GET: dict[str, Any] = {"get": "/v1/configs/models/$model", "expect": {"status": 200}}
CLAUSE = Clause(number="C-001", sentence="A model is listed.", group="Listing")


def case(*steps: dict[str, Any], **keys: Any) -> Case:
    return Case(**{"name": "a/b", "clause": "C-001", "shows": "It is.", "needs": (), "steps": steps or (GET,), **keys})


def without(step: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != key}


def test_a_case_as_it_must_be_has_no_fault() -> None:
    right = case(GET, REFUSED, {**GET, "save": {"x": "json.a"}}, {"get": "/$x", "expect": {"status": 200}})
    assert lint.lint([right], [CLAUSE]) == []
    fraction = {**without(REFUSED, "body"), "json": 1.0, "cured": {"json": 1}}
    forbidden = {**REFUSED, "expect": {"status": 403}, "cured": {"as": "admin"}}
    assert list(lint_case(case(fraction, forbidden, without(forbidden, "cured")))) == []


NATS = {"needs": ("nats",)}
SUBSCRIBE = {"subscribe": ["s"]}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (case(name="b"), "folder"),
        (case(name="a/B_c"), "folder"),
        (case(shows="It should be."), "should"),
        (case(without(GET, "expect")), "cannot fail"),
        (case(SUBSCRIBE, **NATS), "cannot fail"),
        (case({"get": "/$x", "expect": {"status": 200}}), "$x"),
        (case({**GET, "save": {"x": "json.a"}, "headers": {"h": "$x"}}), "$x"),
        (case(GET, {"heard": {"on": "s"}}, **NATS), "`subscribe` before"),
        (case(SUBSCRIBE, {"heard": {"on": "t"}}, **NATS), "`subscribe` before"),
        (case(SUBSCRIBE, {"heard": {"on": "s"}}), "needs: [nats]"),
        (case({"status": {"json": {}, "within_s": 1}}), "needs: [worker]"),
        (case(GET, {"restart": True}), "needs: [restart]"),
        (case(GET, {"restart": True}, {"restart": True}, needs=("restart",)), "twice"),
        (case({**GET, "on": "router2"}), "needs: [two-routers]"),
        (case({"together": [{**GET, "on": "router2"}]}), "needs: [two-routers]"),
        (case({**REFUSED, "as": "reader"}), "needs: [reader-token]"),
        (case(without(REFUSED, "cured")), "no `cured`"),
        (case({**without(REFUSED, "cured"), "expect": {"status": [400, 422]}}), "no `cured`"),
        (case({"together": [without(REFUSED, "cured")]}), "no `cured`"),
        (case({**GET, "cured": "x"}), "has `cured`"),
        (case({**REFUSED, "expect": {"status": 503}}), "has `cured`"),
        (case({**REFUSED, "cured": {"body": "x: ["}}), "the same"),
        (case({**REFUSED, "cured": {"headers": {}}, "headers": {}}), "the same"),
        (case({**without(REFUSED, "body"), "json": 1, "cured": {"json": 1}}), "the same"),
        (case({**REFUSED, "json": {}}), "more than one body"),
        (case({**GET, "until": "("}), "no pattern"),
        (case({**GET, "expect": {"json": {"$type": "integer"}}}), "$type"),
        (case({**GET, "expect": {"headers": {"x": {"$matches": "("}}}}), "$matches"),
        (case({**GET, "expect": {"text": {"matches": "("}}}), "$matches"),
        (case({"repeat_until": {**GET, "expect": {"status": {"$oneof": [1]}}, "within_s": 1}}), "$oneof"),
        (case({"together": [GET], "expect_statuses": {"$unordered": 1}}), "$unordered"),
        (case(SUBSCRIBE, {"heard": {"on": "s", "json": {"$typ": 1}}}, **NATS), "$typ"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_case_that_is_wrong_by_itself_is_caught(wrong: Case, named: str) -> None:
    faults = list(lint_case(wrong))
    assert [one for one in faults if named in one], faults


@pytest.mark.parametrize(
    ("cases", "clauses", "named"),
    [
        ([case(), case(name="c/b", shows="Another.")], [CLAUSE], "the name b is taken twice"),
        ([case(), case(name="a/c")], [CLAUSE], "two cases show the same: It is."),
        ([case()], [CLAUSE, CLAUSE], "C-001 is there twice"),
        ([case()], [Clause(number="C-001", sentence="It should be.", group="")], "what should be"),
        ([case()], [Clause(number="C-001", sentence="It is", group="")], "one sentence"),
        ([case()], [], "no clause C-001"),
        ([], [CLAUSE], "no case is about C-001"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_all_together_is_caught(cases: list[Case], clauses: list[Clause], named: str) -> None:
    assert [one for one in lint.lint(cases, clauses) if named in one]


def test_a_file_that_nobody_would_read_is_caught(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("")
    (tmp_path / "b.yaml").write_text("")
    assert [one.partition(":")[0] for one in lint._stray_files(tmp_path)] == ["a.yml"]


def test_clauses_are_found_as_items_rows_and_lines(tmp_path: Path) -> None:
    text = "# Suite\n## One\n- C-001 A is.\n- **C-002** B is.\n| C-003 | C is. |\n## Two\nX-001: D is.\nnot C-004 E.\n"
    (tmp_path / "README.md").write_text(text)
    found = [(one.number, one.sentence, one.group) for one in read_clauses(tmp_path / "README.md")]
    assert found == [
        ("C-001", "A is.", "One"),
        ("C-002", "B is.", "One"),
        ("C-003", "C is.", "One"),
        ("X-001", "D is.", "Two"),
    ]


def test_the_suite_itself_is_as_it_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_cases()
    assert lint.main([]) == 0, capsys.readouterr().out
