"""Two results beside each other: what was different, and what moved by more than its own rounds do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.compare import Rounds, differing, moved, read_result, text_of


def content(**given: Any) -> bytes:
    setting = {"time": "now", "cores": 2, "versions": {"trio": "0.35"}, "commit": "abc"}
    whole = {"benchmark": "some", "seed": 1, "setting": setting, "ratios": {"one / other": [1.0, 1.1, 1.2]}, **given}
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([1.0, 1.1, 1.2], [1.1, 1.2, 1.3], False),
        ([1.0, 1.1, 1.2], [1.4, 1.5, 1.6], True),
        ([1.0, 1.1, 1.2], [0.6, 0.7, 0.8], True),
        ([1.0, 1.1, 1.2], [1.0, 2.0, 3.0], False),
        ([1.0], [1.4, 1.5], True),
        ([1.0], [9.0], None),
    ],
)
def test_it_moved_if_it_did_by_more_than_the_rounds_of_either(a: list[float], b: list[float], verdict: object) -> None:
    assert moved(Rounds(a), Rounds(b)) is verdict


def test_what_differs_is_named_and_the_time_is_not() -> None:
    a = read_result(content(), "a")
    setting = {"time": "later", "cores": 2, "versions": {"trio": "0.36", "orjson": "3"}, "commit": "abc"}
    b = read_result(content(setting=setting, seed=2), "b")
    assert differing(a, b) == [("versions.trio", "0.35", "0.36"), ("seed", "1", "2"), ("versions.orjson", "-", "3")]


def test_ratios_stand_beside_each_other_and_lonely_ones_are_named() -> None:
    a = read_result(content(), "a")
    b = read_result(content(ratios={"one / other": [2.0, 2.2, 2.4], "new": [1.0, 1.0]}), "b")
    said = text_of(a, b)
    assert "1.100 (1.000-1.200)" in said
    assert "2.200 (2.000-2.400)" in said
    assert "2.000  moved" in said
    assert "only in B: new" in said


def test_a_result_of_before_gives_its_medians() -> None:
    found = read_result(content(ratios={}, figures={"ratios": {"served / bare": 0.9}}), "old")
    assert found.ratios == {"served / bare": Rounds([0.9])}


@pytest.mark.parametrize("other", [b"[]", b"no JSON", b'{"figures": {}}'])
def test_what_is_no_result_is_told(tmp_path: Path, other: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content())
    (tmp_path / "b.json").write_bytes(other)
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert done.exit_code == 1
    assert "Error" in done.output


def test_results_of_two_benchmarks_are_not_compared(tmp_path: Path) -> None:
    for name in ("some", "other"):
        (tmp_path / f"{name}.json").write_bytes(content(benchmark=name))
    files = [str(tmp_path / "some.json"), str(tmp_path / "other.json")]
    assert "is of some" in CliRunner().invoke(main, ["compare", *files]).output
    assert CliRunner().invoke(main, ["compare", files[0], files[0]]).exit_code == 0
