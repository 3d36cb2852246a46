"""The numbered clauses of README.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spec.case import HERE

README = HERE / "README.md"
_HEADING = re.compile(r"#+ +(.+)")
_CLAUSE = re.compile(r"[-*|\s]*\**([CX]-[0-9]{3})\**[\s:.|]+(.+?)[\s|]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """`group`: the heading it stands under."""

    number: str
    sentence: str
    group: str


def read_clauses(path: Path = README) -> Sequence[Clause]:
    """Every clause, in order: a line, list item or table row that begins with its number. None without such a file."""
    found: list[Clause] = []
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if heading := _HEADING.fullmatch(line):
            group = heading[1].strip()
        elif clause := _CLAUSE.fullmatch(line):
            found.append(Clause(number=clause[1], sentence=clause[2], group=group))
    return found
