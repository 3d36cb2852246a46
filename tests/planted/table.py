"""What is planted and what sees it, written into spec/README.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.planted.mutations import MUTATIONS

README = Path(__file__).parents[2] / "spec" / "README.md"
BEGIN, END = "<!-- planted -->", "<!-- /planted -->"


def rows() -> Sequence[str]:
    """The lines of the table."""
    head = ["| planted | known as | seen by |", "|---|---|---|"]
    return [*head, *(f"| {one.what} | {one.like} | {one.seen_by} |" for one in MUTATIONS.values())]


def written(text: str) -> Sequence[str]:
    """The lines of the table in this text. Raises ValueError if it has none."""
    _, rest = text.split(BEGIN)
    return rest.split(END)[0].strip().splitlines()


def main() -> int:
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text("\n".join([before + BEGIN, *rows(), END]) + rest.split(END)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
