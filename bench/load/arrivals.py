"""When requests come, and which texts they bring. Pure: the chance is the caller's."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts of these lengths in tokens, each as often as it weighs."""

    name: str
    lengths: Mapping[int, float]

    def drawn(self, count: int, chance: random.Random) -> list[int]:
        """The lengths of so many texts."""
        return chance.choices(list(self.lengths), weights=list(self.lengths.values()), k=count)

    @property
    def said(self) -> str:
        total = sum(self.lengths.values())
        return ", ".join(f"{weight / total:.0%} of {length} tokens" for length, weight in self.lengths.items())


WORKLOADS = {
    one.name: one
    for one in (
        Workload("short", {16: 1}),
        Workload("long", {128: 1}),
        Workload("bimodal", {16: 9, 200: 1}),
    )
}


def poisson(rate: float, seconds: float, chance: random.Random) -> Sequence[float]:
    """Times from 0 to `seconds`, in order, at `rate` a second on average, none knowing of another."""
    times, at = [], chance.expovariate(rate)
    while at < seconds:
        times.append(at)
        at += chance.expovariate(rate)
    return times
