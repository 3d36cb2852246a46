"""`make fuzz`: everything in this folder, round after round with fresh seeds, until the time is over or one fails.

    python -m tests.fuzz --minutes 60

A round tries each property 500 or 2,000 times and makes some ten thousand requests. Exit status: 0, nothing was found;
1, something was, and the last lines say what and how to repeat it. What was found is kept in .hypothesis, and the next
`pytest tests/fuzz` tries it first; of HTTP, the seed and the request are printed. The round in which the time is over
is played to its end.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time


def main() -> int:
    arguments = argparse.ArgumentParser(description="Fuzz for some time.")
    arguments.add_argument("--minutes", type=float, default=60)
    end = time.monotonic() + 60 * arguments.parse_args().minutes
    rounds = 0
    while time.monotonic() < end:
        seed = random.getrandbits(32)
        print(f"round {rounds + 1}: FUZZ_SEED={seed}", flush=True)
        if _round(seed):
            print(f"found something. Repeat: FUZZ_SEED={seed} {sys.executable} -m pytest tests/fuzz", flush=True)
            return 1
        rounds += 1
    print(f"nothing found in {rounds} rounds")
    return 0


def _round(seed: int) -> int:
    """One round's exit status. It is never cut short: what it would find may be on its way."""
    command = [sys.executable, "-m", "pytest", "tests/fuzz", "--hypothesis-profile=fuzz", "-x", "--timeout", "3600"]
    return subprocess.run(command, env={**os.environ, "FUZZ_SEED": str(seed)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
