"""A schedule runs the same, to the last bit, wherever and whenever it runs."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from sie.testing.simulation.run import fingerprint, run
from sie.testing.simulation.schedule import draw

SEEDS = range(40)

PROGRAM = """
from sie.testing.simulation.run import fingerprint, run
from sie.testing.simulation.schedule import draw
for seed in reversed(range(40)):
    print(seed, fingerprint(run(draw(seed))))
"""


def fingerprints_elsewhere(hash_seed: int) -> dict[int, str]:
    """In another process, where sets and memory are in another order; and in another order of runs."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True, timeout=100
    ).stdout
    return {int(seed): found for seed, found in (line.split() for line in said.splitlines())}


def test_a_run_is_the_same_in_every_process() -> None:
    random.seed()  # what is outside of a run has no part in it
    here = {seed: fingerprint(run(draw(seed))) for seed in SEEDS}
    assert len(set(here.values())) == len(here)
    assert here == fingerprints_elsewhere(1) == fingerprints_elsewhere(2)


def test_a_run_leaves_chance_outside_of_it_alone() -> None:
    random.seed(7)
    run(draw(1))
    after = random.random()
    random.seed(7)
    assert after == random.random()
