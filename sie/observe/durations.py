# Rule: pure; whoever measures has the clock.
"""How long things took, as a histogram."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Durations:
    """Counts seconds by upper bound; beyond the last bound they count in the sum and the total only."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: rising."""
        self.sum_s = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def note(self, seconds: float) -> None:
        self.sum_s += seconds
        self._counts[bisect_left(self._bounds, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each bound and how many were no longer, the last bound being all there are."""
        names = [*(f"{one:g}" for one in self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))
