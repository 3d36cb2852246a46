"""What is planted and what sees it, written into spec/README.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.marks import write_between
from tests.planted.mutations import MUTATIONS


def rows() -> Sequence[str]:
    """The lines of the table."""
    head = ["| planted | known as | seen by |", "|---|---|---|"]
    return [*head, *(f"| {one.what} | {one.like} | {one.seen_by} |" for one in MUTATIONS.values())]


def main() -> int:
    write_between("planted", rows())
    return 0


if __name__ == "__main__":
    sys.exit(main())
