"""Loads on a real server whose model costs nothing: every row is there and every request is accounted for.

What is measured here means nothing. With a real model: slow, at the end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import bench.report
from bench import hangups, latency, memory
from bench.child import Child
from bench.load.asking import Asking
from bench.load.sides import SHARES, Measurement, Plan, Side
from bench.load.target import Target
from bench.served import idle, target_at
from tests.bench.test_benchmarks import numbers, run


@pytest.fixture(scope="module")
def asking() -> Iterator[Asking]:
    with ExitStack() as stack:
        yield Asking(stack)


@pytest.fixture(scope="module")
def server() -> Iterator[Child]:
    with Child("bench.costless") as child:
        yield child


@pytest.fixture
def target(server: Child) -> Target:
    return target_at(server.ready["address"])


def test_every_request_of_a_load_is_accounted_for(asking: Asking, target: Target) -> None:
    found = asking.open(target, "bimodal", rate=300, seconds=0.5, deadline_ms=1000, seed=1)
    assert len(found.status) == len(found.took_ms) == len(found.lag_ms)
    assert len(found.status) == pytest.approx(150, rel=0.5)
    assert set(found.status) == {200}
    assert found.batches_ms
    again = asking.open(target, "bimodal", rate=300, seconds=0.5, deadline_ms=1000, seed=1)
    assert len(again.status) == len(found.status)


def test_latency_says_something_of_every_rate(asking: Asking, target: Target) -> None:
    plan = Plan(seconds=0.1, rounds=1, steps=1, deadline_ms=1000, p99_ms=500)
    sides = [Side(target, "short")]
    found = {"short": (sides, Measurement(asking, plan, random.Random(1)).measure(sides))}
    said = latency.text_of(found, plan, seed=1)
    for share in SHARES:
        assert numbers(f"{share:.0%}", said)[0] > 0
    for what in ("goodput at 200% / its peak", "p99 at 70% / the median batch"):
        assert numbers(f"short, sie: {what}", said)[0] > 0
    json.dumps(latency.figures_of(found, plan), allow_nan=False)
    assert {one.title for one in latency.pictures_of(found)} == {"short: latency", "short: goodput"}


def test_memory_is_read_between_runs(asking: Asking, target: Target, server: Child) -> None:
    found = memory.measure(asking, target, server.process_id, warm_up=50, requests=400, every=100, connections=4)
    assert [done for done, _ in found.points] == [0, 100, 200, 300, 400]
    assert all(resident > 10 for _, resident in found.points)
    assert "growth by the line through all" in memory.text_of(found, 4)


def test_growth_is_the_slope_and_not_the_last_look() -> None:
    leak = memory.Samples([(at, 100 + at / 10) for at in range(0, 101, 10)], [1.0])
    assert leak.grown_mb == pytest.approx(10)
    assert leak.halves_mb == pytest.approx([10, 10])
    late = memory.Samples([(at, 100 + 9 * (at == 100)) for at in range(0, 101, 10)], [1.0])
    assert 0 < late.grown_mb < 9


def test_those_who_hang_up_and_those_who_are_slow_are_measured(asking: Asking, target: Target) -> None:
    texts = hangups.Texts(target, random.Random(1))
    hung = [hangups.hang_up(target, texts, 20, pause_s) for pause_s in hangups.PAUSES_S]
    assert all(one.batches >= 1 for one in hung)  # the one who asks after them is served
    assert not idle(target).waiting
    with Child("bench.slow", target.host, str(target.port), "1") as slow:
        slowed = [hangups.slow_down(asking, target, slow, 0.1, slow_first=first) for first in (True, False)]
    assert [one.alive for one in slowed] == [2, 2]
    assert all(one.alone_ms > 0 and one.beside_ms > 0 for one in slowed)


@pytest.mark.slow
def test_latency_is_measured_beside_another_server() -> None:
    with Child("bench.costless") as other:
        against = ("--against", f"other=openai+{other.ready['address']}/v1")
        said = run("latency", "--workload", "short", "--quick", "--seed", "1", *against)
    for name in ("sie", "other"):
        assert numbers(f"short, {name}: goodput at 200% / its peak", said)[0] > 0
    assert "seed 1" in said


@pytest.mark.slow
def test_hanging_up_is_measured_with_a_real_model() -> None:
    said = run("hangups", "--clients", "50", "--rounds", "1", "--seconds", "0.2")
    assert numbers("one full batch, 512 such texts", said)[0] > 0
    assert numbers("hung up after 0.5 s: device time afterwards / one full batch", said)[0] >= 0


@pytest.mark.slow
def test_memory_is_kept_as_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.report, "RESULTS", tmp_path)
    memory.main(["--requests", "4000", "--every", "1000", "--save", "--plots"], standalone_mode=False)
    kept = json.loads((tmp_path / "memory.json").read_text())
    assert len(kept["ratios"]["growth / target"]) == 2
    assert {file.suffix for file in tmp_path.iterdir()} == {".txt", ".json", ".png", ".svg"}
