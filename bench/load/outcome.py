"""What became of the requests of one load, and what is said of it. Pure."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OK, REFUSED, TIMED_OUT = 200, 503, 504
UNANSWERED = -1  # instead of a status: it was not waited for any longer
PERCENTILES = (50, 95, 99)
_RESAMPLED = 400
_BLOCKS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One load, request by request, in the order of the schedule.

    `lag_ms`: from scheduled to sent. `took_ms`: from scheduled to answered. `batches_ms`: what each batch took the
    server, where it says so. `seconds`: how long the load lasted. `cpu`: of a core, what the generator used.
    """

    seconds: float
    deadline_ms: float
    cpu: float
    lag_ms: Sequence[float]
    took_ms: Sequence[float]
    status: Sequence[int]
    batches_ms: Sequence[float] = ()

    def count(self, *statuses: int) -> int:
        return sum(one in statuses for one in self.status)

    @property
    def answered_ms(self) -> list[float]:
        """How long the 200s took."""
        return [took for took, status in zip(self.took_ms, self.status, strict=True) if status == OK]

    @property
    def late(self) -> int:
        """200s that came after the deadline."""
        return sum(took > self.deadline_ms for took in self.answered_ms)

    @property
    def failed(self) -> int:
        return len(self.status) - self.count(OK, REFUSED, TIMED_OUT)

    @property
    def offered(self) -> float:
        """Requests a second."""
        return len(self.status) / self.seconds

    @property
    def goodput(self) -> float:
        """200s within the deadline, a second."""
        return (self.count(OK) - self.late) / self.seconds

    @property
    def batch_ms(self) -> float:
        """What the median batch took the server; nan where it does not say."""
        return statistics.median(self.batches_ms) if self.batches_ms else math.nan

    def summary(self) -> Mapping[str, Any]:
        """For a file of results."""
        took, lag = self.answered_ms, self.lag_ms
        return {
            "offered": round(self.offered, 2),
            "goodput": round(self.goodput, 2),
            "requests": len(self.status),
            "ok": self.count(OK),
            "refused": self.count(REFUSED),
            "timed_out": self.count(TIMED_OUT),
            "late": self.late,
            "latest_ms": round(max(self.answered_ms, default=0.0), 3),
            "failed": self.failed,
            "took_ms": {f"p{share}": _said(percentile(took, share)) for share in PERCENTILES},
            "lag_ms": {f"p{share}": _said(percentile(lag, share)) for share in (50, 99)},
            "batch_ms": _said(self.batch_ms),
            "generator_cpu": round(self.cpu, 3),
        }


def outcome_of(told: Mapping[str, Any]) -> Outcome:
    """What the generator says, read."""
    return Outcome(**told)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many percent do not exceed; nan of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] if ordered else math.nan


def batches(run_ms: Sequence[float]) -> list[float]:
    """Of what each answer says its batch took, in the order they came: one for each batch.

    The answers of one batch come together and say the same to a hundredth of a millisecond.
    """
    return [one for one, _ in itertools.groupby(run_ms)]


def interval(runs: Sequence[Sequence[float]], share: float, seed: int) -> tuple[float, float]:
    """Where a percentile lies with 95 % confidence, by a bootstrap over blocks: of the durations of each run, in the
    order of the schedule. Neighbours shared a queue and know of each other, so that whole stretches are drawn again.

    (nan, nan) of none.
    """
    blocks = [block for run in runs for block in np.array_split(np.asarray(run), min(_BLOCKS, len(run)) or 1)]
    blocks = [block for block in blocks if len(block)]
    if not blocks:
        return math.nan, math.nan
    chance = np.random.default_rng(seed)

    def drawn() -> float:
        found = np.concatenate([blocks[at] for at in chance.integers(len(blocks), size=len(blocks))])
        return float(np.percentile(found, share, method="inverted_cdf"))

    low, high = np.percentile([drawn() for _ in range(_RESAMPLED)], [2.5, 97.5])
    return float(low), float(high)


def highest(meets: Callable[[float], bool], low: float, high: float, steps: int) -> float | None:
    """The highest rate that meets it, by halving what lies between; None if not even `low` does.

    Costs at most `steps` + 2 measurements, and is right where a higher rate is never met after a lower one is not.
    """
    if not meets(low):
        return None
    if meets(high):
        return high
    for _ in range(steps):
        middle = (low + high) / 2
        if meets(middle):
            low = middle
        else:
            high = middle
    return low


def _said(value: float) -> float | None:
    """For JSON, which has no nan."""
    return None if math.isnan(value) else round(value, 3)
