"""Many durations of one thing, as what a reader can compare: percentiles, and a picture that hides no interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_BAR = 60


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations in nanoseconds, at least one; read in milliseconds."""

    durations: Sequence[int]

    def percentile(self, share: float) -> float:
        """The smallest duration that so many percent do not exceed, in ms."""
        ordered = sorted(self.durations)
        return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] / 1e6

    @property
    def p50(self) -> float:
        return self.percentile(50)

    def row(self, title: str) -> str:
        """One line of a table whose head is HEAD."""
        return f"{title:<58}{self.p50:>8.2f}{self.percentile(90):>8.2f}{self.percentile(99):>8.2f}"

    def summary(self) -> Mapping[str, float]:
        """For a file of results, in ms."""
        shares = {"p50": 50, "p90": 90, "p99": 99, "most": 100}
        return {"count": len(self.durations), **{name: round(self.percentile(at), 4) for name, at in shares.items()}}

    def histogram(self, columns: int = 30) -> str:
        """Equal steps up to p99; what lies beyond is counted. A polling interval would show as a plateau or a comb."""
        ordered = [one / 1e6 for one in sorted(self.durations)]
        low, high = ordered[0], self.percentile(99)
        width = (high - low) / columns or 1.0
        counts = [0] * columns
        for one in ordered:
            if one <= high:
                counts[min(columns - 1, int((one - low) / width))] += 1
        most = max(counts)
        lines = [
            f"{low + number * width:>8.2f} ms {'#' * round(_BAR * count / most)}{f' {count}' if count else ''}"
            for number, count in enumerate(counts)
        ]
        beyond = sum(one > high for one in ordered)
        return "\n".join([*lines, f"beyond {high:.2f} ms: {beyond}, the longest {ordered[-1]:.2f} ms"])


def ratios(above: Sequence[int], *below: Sequence[int], rounds: int = 5) -> list[float]:
    """p50 of the one over the sum of the others' p50, of each of so many stretches; all were measured in turn."""

    def stretch(of: Sequence[int], at: int) -> float:
        return Spread(of[len(of) * at // rounds : len(of) * (at + 1) // rounds]).p50

    rounds = min(rounds, len(above), *map(len, below))
    return [stretch(above, at) / sum(stretch(one, at) for one in below) for at in range(rounds)]


HEAD = f"{'ms':<58}{'p50':>8}{'p90':>8}{'p99':>8}"
