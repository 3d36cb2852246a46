"""What a picture shows, as values: benchmarks make them, bench/plots.py draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Points joined from left to right; `across` and `up` name the axes. `level`: a line across, and what it is."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Sequence[Point]]
    logarithmic: bool = False
    level: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Groups of bars, by group, then by what the bar is. `up`: what their length is."""

    title: str
    up: str
    groups: Mapping[str, Mapping[str, float]]
    level: tuple[float, str] | None = None


Picture: TypeAlias = Lines | Bars
