"""Each benchmark runs to its end, tiny: what it says is complete. What it measures here means nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench.report
from bench.spread import Spread, ratios
from bench.taps import Sightings, _frame

ROOT = Path(__file__).parents[2]


def run(module: str, *flags: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIE_")}
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{module}", *flags], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(row: str, text: str) -> list[float]:
    """What stands in the row that begins so."""
    found = re.search(rf"^\s*{re.escape(row)}[^\n]*?((?:\s+\d+\.\d+)+)", text, re.MULTILINE)
    assert found is not None, f"no row {row!r} in:\n{text}"
    return [float(one) for one in found[1].split()]


@pytest.mark.slow
def test_a_post_is_measured_beside_its_parts_and_seen_at_every_stage() -> None:
    said = run("propagation", "--posts", "2", "--workers", "1", "--seed", "1")
    post, total = numbers("POST -> 201 with 1 acks", said)[0], numbers("their sum", said)[0]
    assert numbers("POST / sum of parts", said)[0] == pytest.approx(post / total, rel=0.05)
    for row in ("append to the store", "NATS publish", "one WebSocket message", "beside them: GET"):
        assert all(one > 0 for one in numbers(row, said))
    assert "changes not seen by an observer: 0" in said
    stages = ("published (", "applied by the first", "applied by the last")
    assert all(numbers(one, said)[2] > 0 for one in stages)
    assert "seed 1" in said


@pytest.mark.slow
def test_a_fan_out_is_measured_beside_bare_callbacks() -> None:
    said = run("fanout", "--count", "2", "--rounds", "2")
    for case in ("2 in one process, 1 connection", "2 in one process, 2 connections"):
        rows = said[said.index(f"{case}\n") :]
        ours, bare = numbers("ours, the last worker", rows)[0], numbers("bare, the last callback", rows)[0]
        assert numbers("ours / bare, the last", rows)[0] == pytest.approx(ours / bare, rel=0.05)


@pytest.mark.slow
def test_sizes_are_measured_beside_each_other() -> None:
    said = run("scale", "--size", "20", "--size", "200", "--posts", "2")
    assert numbers("into 200 models", said)[0] > 0
    status = re.search(r"status at 200 models: (\d+) bytes", said)
    assert status is not None
    assert int(status[1]) > 100


@pytest.mark.slow
def test_a_start_is_measured_with_models_and_without() -> None:
    said = run("restore", "--size", "200", "--starts", "1")
    for kind in ("router", "worker"):
        full, none = numbers(f"{kind}, 200 models", said)[0], numbers(f"{kind}, no models", said)[0]
        assert numbers(f"{kind}: start with all models / with none", said)[0] == pytest.approx(full / none, rel=0.05)


@pytest.mark.slow
def test_a_post_is_measured_over_a_shared_store_too() -> None:
    said = run("propagation", "--posts", "2", "--workers", "1", "--store", "s3")
    assert "s3 store; n = 2" in said


def test_what_is_saved_says_what_it_was_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench.report, "RESULTS", tmp_path / "results")
    bench.report.report("some", "a table", {"ratio": 1.5}, save=True, seed=7, ratios={"one / other": [1, 2.00004]})
    assert (tmp_path / "results" / "some.txt").read_text() + "\n" == capsys.readouterr().out
    kept = json.loads((tmp_path / "results" / "some.json").read_text())
    assert kept["figures"] == {"ratio": 1.5}
    assert (kept["benchmark"], kept["seed"], kept["ratios"]) == ("some", 7, {"one / other": [1, 2]})
    assert {"processor", "cores", "commit", "python", "versions", "load_1m"} <= kept["setting"].keys()
    assert kept["setting"]["versions"]["trio"] != "absent"


def test_percentiles_are_durations_that_were_measured() -> None:
    spread = Spread([one * 1_000_000 for one in range(100, 0, -1)])
    assert [spread.percentile(share) for share in (1, 50, 90, 99, 100)] == [1, 50, 90, 99, 100]
    assert Spread([3_000_000]).p50 == 3


def test_ratios_are_those_of_stretches_measured_at_the_same_time() -> None:
    assert ratios([4, 4, 9, 9], [1, 1, 1, 1], [1, 1, 2, 2], rounds=2) == [2, 3]
    assert ratios([4], [1, 2], rounds=5) == [4]  # fewer than rounds


def test_a_histogram_counts_every_duration_once() -> None:
    said = Spread([one * 1_000_000 for one in range(1, 201)]).histogram(columns=4)
    *bars, beyond = said.splitlines()
    assert sum(int(one.split()[-1]) for one in bars) == 198
    assert beyond == "beyond 198.00 ms: 2, the longest 200.00 ms"


async def test_a_status_that_skips_a_revision_shows_it_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Sightings()
    for revision, at in ((5, 1), (8, 2), (7, 3)):
        seen.note("applied 0", revision, at)
    for asked in ("6", "7", "8"):
        await seen.tell(asked, 1)
    assert capsys.readouterr().out == '{"applied 0": 2}\n' * 3


@pytest.mark.parametrize("size", [0, 125, 126, 4096])
def test_a_frame_is_read_when_it_is_whole(size: int) -> None:
    head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2, "big")
    whole = head + b"s" * size
    assert _frame(whole + b"more") == (b"s" * size, b"more")
    assert _frame(whole[:-1]) is None
