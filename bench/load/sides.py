"""Servers beside each other under one workload: saturated, then asked at shares of that, then searched for the most."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.load.asking import Asking, Closed, Proof
from bench.load.outcome import Outcome, highest, percentile
from bench.load.target import Target

SHARES = (0.3, 0.5, 0.7, 0.9, 1.2, 2.0)
TARGET_SHARE = 0.7
_CONNECTIONS = (32, 64)
_MEETS = 0.99  # of the requests are to be answered in time, too
_REST_S = 0.3
_PROOF_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how often. `p99_ms`: the target of the search for the highest goodput."""

    seconds: float
    rounds: int
    steps: int
    deadline_ms: float
    p99_ms: float


@dataclass
class Side:
    """One server under one workload: what it was asked and did. `rows`: by share of saturation, round by round."""

    target: Target
    workload: str
    closed: list[Closed] = field(default_factory=list)
    rows: dict[float, list[Outcome]] = field(default_factory=lambda: {share: [] for share in SHARES})
    search: list[Outcome] = field(default_factory=list)
    highest: float | None = None

    @property
    def saturation(self) -> float:
        """200s a second."""
        return max(one.rate for one in self.closed)

    @property
    def peaks(self) -> list[float]:
        """The highest goodput of each round."""
        return [max(one.goodput for one in outcomes) for outcomes in zip(*self.rows.values(), strict=True)]

    def ratios(self) -> Mapping[str, Sequence[float]]:
        """Of each round."""
        of = f"{self.workload}, {self.target.name}:"
        found: dict[str, Sequence[float]] = {
            f"{of} goodput at {share:.0%} / its peak": [
                one.goodput / peak for one, peak in zip(self.rows[share], self.peaks, strict=True) if peak
            ]
            for share in SHARES
            if share > 1
        }
        told = [one for one in self.rows[TARGET_SHARE] if one.batches_ms and one.answered_ms]
        if told:
            p99 = [percentile(one.answered_ms, 99) / one.batch_ms for one in told]
            found[f"{of} p99 at {TARGET_SHARE:.0%} / the median batch"] = p99
        if self.highest is not None:
            found[f"{of} highest rate with p99 in its target / saturation"] = [self.highest / self.saturation]
        return found


class Measurement:
    """Our server and others beside it, each asked in turn for the same."""

    def __init__(self, asking: Asking, plan: Plan, chance: random.Random) -> None:
        self._asking = asking
        self._plan = plan
        self._chance = chance

    def measure(self, sides: Sequence[Side]) -> Proof:
        """Fill the sides, which have one workload. Rates are shares of the first one's saturation, for all.

        Raises RuntimeError if that one answers nothing.
        """
        for side in sides:
            self._asking.closed(
                side.target, side.workload, connections=_CONNECTIONS[0], seconds=min(1.0, self._plan.seconds)
            )
            for connections in _CONNECTIONS:
                found = self._asking.closed(
                    side.target, side.workload, connections=connections, seconds=self._plan.seconds
                )
                side.closed.append(found)
        saturation = sides[0].saturation
        if not saturation:
            raise RuntimeError(f"{sides[0].target.name} answers nothing: {sides[0].closed[0].counts}")
        turns = [(side, share) for side in sides for share in SHARES]
        for _ in range(self._plan.rounds):
            for side, share in self._chance.sample(turns, len(turns)):
                side.rows[share].append(self._open(side, share * saturation))
        for side in sides:
            self._search(side, saturation)
        most = max(one.offered for side in sides for outcomes in side.rows.values() for one in outcomes)
        seed = self._chance.randrange(10**6)
        return self._asking.prove(sides[0].workload, rate=most, seconds=min(_PROOF_S, self._plan.seconds), seed=seed)

    def _search(self, side: Side, saturation: float) -> None:
        def meets(rate: float) -> bool:
            found = self._open(side, rate)
            side.search.append(found)
            in_time = found.goodput >= _MEETS * found.offered
            return in_time and percentile(found.answered_ms, 99) <= self._plan.p99_ms

        side.highest = highest(meets, min(SHARES) / 3 * saturation, max(SHARES) / 2 * saturation, self._plan.steps)

    def _open(self, side: Side, rate: float) -> Outcome:
        time.sleep(_REST_S)
        return self._asking.open(
            side.target,
            side.workload,
            rate=rate,
            seconds=self._plan.seconds,
            deadline_ms=self._plan.deadline_ms,
            seed=self._chance.randrange(10**6),
        )
