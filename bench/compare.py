"""Two saved results of one benchmark beside each other: what was different about them, and which ratios moved.

`python -m bench compare A.json B.json`. Ratios are compared, not milliseconds: those are the machine's. One has moved
if its medians are further apart than the rounds of either were among themselves.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

# Of the setting: differs between any two runs.
_ALWAYS_OTHER = ("time",)


@dataclass(frozen=True, slots=True)
class Rounds:
    """One ratio, as each round gave it; at least one."""

    of: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.of)

    @property
    def spread(self) -> float | None:
        """Between the least and the most; None of one round, which has none."""
        return max(self.of) - min(self.of) if len(self.of) > 1 else None

    def __str__(self) -> str:
        return f"{self.median:.3f}" + (f" ({min(self.of):.3f}-{max(self.of):.3f})" if len(self.of) > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a file of results says that can be compared. `benchmark`: empty in files that do not say it yet."""

    benchmark: str
    setting: Mapping[str, str]
    ratios: Mapping[str, Rounds]


def read_result(content: bytes, name: str) -> Result:
    """Raises ValueError, with its name, for what is no result."""
    found = json.loads(content)
    if not isinstance(found, dict) or not isinstance(found.get("setting"), dict):
        raise ValueError(f"{name} is no result of a benchmark")  # noqa: TRY004 — of what was read, not of who called
    given = found.get("ratios") or found.get("figures", {}).get("ratios") or {}
    ratios = {what: Rounds(of if isinstance(of, list) else [of]) for what, of in given.items() if of not in ([], None)}
    setting = {**found["setting"], "seed": found.get("seed"), "command": found.get("command")}
    return Result(benchmark=found.get("benchmark", ""), setting=dict(_flat(setting)), ratios=ratios)


def moved(a: Rounds, b: Rounds) -> bool | None:
    """Whether by more than their own rounds' spread; None where neither has one."""
    spreads = [one.spread for one in (a, b) if one.spread is not None]
    return abs(b.median - a.median) > max(spreads) if spreads else None


def differing(a: Result, b: Result) -> Sequence[tuple[str, str, str]]:
    """What of the machine, the versions, the commit and the command is not the same: its name, A's and B's."""
    names = [*a.setting, *(name for name in b.setting if name not in a.setting)]
    said = [(name, a.setting.get(name, "-"), b.setting.get(name, "-")) for name in names]
    return [one for one in said if one[1] != one[2] and one[0] not in _ALWAYS_OTHER]


def text_of(a: Result, b: Result) -> str:
    lines = [f"{a.benchmark or b.benchmark}: what differs"]
    for name, before, after in differing(a, b):
        lines += [f"  {name:<32}A: {before}", f"{'':<34}B: {after}"]
    both = [name for name in a.ratios if name in b.ratios]
    wide = max((len(name) for name in both), default=0) + 2
    lines += ["", f"{'ratio, median (rounds)':<{wide}}{'A':>24}{'B':>24}{'B / A':>8}"]
    for name in both:
        one, other = a.ratios[name], b.ratios[name]
        mark = {True: "  moved", False: "", None: "  one round each: nothing to judge by"}[moved(one, other)]
        share = f"{other.median / one.median:.3f}" if one.median else "-"
        lines.append(f"{name:<{wide}}{one!s:>24}{other!s:>24}{share:>8}{mark}")
    lines += [f"only in A: {name}" for name in a.ratios if name not in b.ratios]
    lines += [f"only in B: {name}" for name in b.ratios if name not in a.ratios]
    return "\n".join(lines)


def _flat(setting: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in setting.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, str(value)


@click.command()
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(a: Path, b: Path) -> None:
    """Two results that were kept with --save: B beside A."""
    try:
        one, other = (read_result(file.read_bytes(), file.stem) for file in (a, b))
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None
    if one.benchmark and other.benchmark and one.benchmark != other.benchmark:
        raise click.ClickException(f"{a} is of {one.benchmark}, {b} of {other.benchmark}")
    click.echo(text_of(one, other))


if __name__ == "__main__":
    main()
