"""How many schedules it takes to see each known way to lose, written into spec/README.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from sie.testing.simulation.search import search
from tests.marks import write_between
from tests.simulation.mutations import MUTATIONS

MOST = 10_000
FIRST = 0


def main() -> int:
    rows = ["| planted | known as | guarantee that it breaks | schedules |", "|---|---|---|---|", *_rows()]
    write_between("mutations", rows)
    return 0


def _rows() -> Iterator[str]:
    for name, mutation in MUTATIONS.items():
        began = time.monotonic()
        found = search(FIRST, MOST, jobs=1, prepare=mutation.plant)
        print(f"{name}: {found}, {time.monotonic() - began:.0f} s", flush=True)
        seen = (f"`{found.guarantee}`", found.tried) if found.seed is not None else ("none", f"> {MOST}")
        yield f"| {mutation.what} | {mutation.like} | {seen[0]} | {seen[1]} |"


if __name__ == "__main__":
    sys.exit(main())
