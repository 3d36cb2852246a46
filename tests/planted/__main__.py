"""`python -m tests.planted NAME serve …`: the program with a known way to lose planted in it."""

from __future__ import annotations

import sys

from sie.cli import main
from tests.planted.mutations import MUTATIONS

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    MUTATIONS[name].plant()
    main(arguments)
