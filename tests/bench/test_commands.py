"""`python -m bench`: whatever measures is in its list, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench.__main__ import BENCHMARKS, main

FILES = sorted((Path(__file__).parents[2] / "bench").glob("*.py"))
MEASURING = [file.stem for file in FILES if "report(\n" in file.read_text() or "save=save)" in file.read_text()]


def test_every_benchmark_is_listed_with_a_line() -> None:
    said = CliRunner().invoke(main, ["--help"])
    assert said.exit_code == 0
    assert {"propagation", "latency", "memory", "hangups"} <= set(MEASURING) - {"report"}
    for name in MEASURING:
        if name != "report":
            assert f"\n  {name} " in said.output
            assert name in BENCHMARKS


@pytest.mark.parametrize("name", [name for name in MEASURING if name not in ("report", "backends", "throughput")])
def test_each_says_what_it_can_be_asked(name: str) -> None:
    said = CliRunner().invoke(main, [name, "--help"])
    assert said.exit_code == 0, said.output
    assert "--save" in said.output


def test_what_is_no_benchmark_is_refused() -> None:
    assert CliRunner().invoke(main, ["stores"]).exit_code == 2
    assert main.get_command(click.Context(main), "child") is None
