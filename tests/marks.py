"""Tables in spec/README.md that a program writes: the lines between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

README = Path(__file__).parents[1] / "spec" / "README.md"


def between(name: str) -> Sequence[str]:
    """The lines between the marks of that name. Raises ValueError if there are none."""
    _, rest = README.read_text().split(f"<!-- {name} -->")
    return rest.split(f"<!-- /{name} -->")[0].strip().splitlines()


def write_between(name: str, lines: Sequence[str]) -> None:
    """In their place, these. Raises ValueError if there are no such marks."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = README.read_text().split(begin)
    README.write_text("\n".join([before + begin, *lines, end]) + rest.split(end)[1])
