"""`python -m sie.testing.simulation`: try many schedules, or repeat one."""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sie.testing.simulation.run import Run, fingerprint, run
from sie.testing.simulation.schedule import Schedule, draw
from sie.testing.simulation.search import search
from sie.testing.simulation.shortest import shortest
from spec.history import write_history


def main(arguments: Sequence[str] | None = None) -> int:
    """0: no guarantee was broken; 1: one was, and it is said how to see that again; 2: it could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m sie.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules to try")
    parser.add_argument("--first", type=int, help="the first seed; the others follow it. Default: a fresh one")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--repeat", type=int, metavar="SEED", help="play one schedule, and tell what happened")
    parser.add_argument("--shorten", action="store_true", help="with --repeat: find the shortest part that goes wrong")
    parser.add_argument(
        "--history", type=Path, help="with --repeat: write the history there, for `python -m spec judge`"
    )
    options = parser.parse_args(arguments)
    if options.repeat is not None:
        return _repeat(draw(options.repeat), shorten=options.shorten, file=options.history)
    first = options.first if options.first is not None else random.randrange(10**9)
    return _try(first, options.seeds, options.jobs or multiprocessing.cpu_count())


def _try(first: int, count: int, jobs: int) -> int:
    began = time.monotonic()
    print(f"seeds {first} to {first + count - 1}, {jobs} at a time", flush=True)
    found = search(first, count, jobs=jobs)
    took_s = time.monotonic() - began
    each_ms = took_s * jobs / max(found.tried, 1) * 1000
    if found.seed is None:
        print(f"{found.tried} seeds, none breaks a guarantee; {took_s:.0f} s, {each_ms:.1f} ms of a core for each")
        return 0
    print(f"seed {found.seed} breaks {found.guarantee}, found after {found.tried} seeds in {took_s:.0f} s")
    return _repeat(draw(found.seed), shorten=True, file=None)


def _repeat(schedule: Schedule, *, shorten: bool, file: Path | None) -> int:
    played = run(schedule)
    if played.broken and shorten:
        kind = played.broken[0][0]
        schedule = shortest(schedule, lambda one: any(name == kind for name, _ in run(one).broken))
        played = run(schedule)
    _tell(schedule, played)
    if file is not None:
        with file.open("w") as history:
            write_history(played.events, history)
    return int(bool(played.broken))


def _tell(schedule: Schedule, played: Run) -> None:
    print(f"seed {schedule.seed}, fingerprint {fingerprint(played)}")
    print(f"  {schedule.cluster}")
    for action in schedule.actions:
        print(f"  {action}")
    for event in played.events:
        print(f"    {event}")
    for guarantee, said in played.broken:
        print(f"{guarantee} is broken: {said}")
    if played.broken:
        print(f"Again: python -m sie.testing.simulation --repeat {schedule.seed} --shorten")


if __name__ == "__main__":
    sys.exit(main())
