"""Pictures: both kinds of both files, the same bytes for the same values."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench.report
from bench.pictures import Bars, Lines
from bench.plots import draw

LINES = Lines(
    title="latency",
    across="requests a second",
    up="ms",
    lines={"p50": [(1, 2), (2, 3)], "none": []},
    logarithmic=True,
    level=(2.5, "target"),
)
BARS = Bars(title="rates", up="req/s", groups={"ours": {"1": 10, "32": 20}, "a much longer name": {"32": 5000}})


def test_both_files_are_written_and_say_what_they_show(tmp_path: Path) -> None:
    png, svg = draw([LINES, BARS, BARS], tmp_path / "some")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    once, again = (draw([LINES, BARS], tmp_path / name) for name in ("once", "again"))
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]
    assert b"<dc:date>" not in once[1].read_bytes()


@pytest.mark.parametrize(
    ("save", "plots", "written"), [(True, None, 4), (True, False, 2), (False, None, 0), (False, True, 2)]
)
def test_they_are_drawn_with_what_is_saved_or_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: bool, plots: bool | None, written: int
) -> None:
    monkeypatch.setattr(bench.report, "RESULTS", tmp_path / "results")
    bench.report.report("some", "a table", {}, save=save, pictures=[BARS], plots=plots)
    assert len(list((tmp_path / "results").glob("*"))) == written
