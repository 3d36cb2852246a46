"""The generator as its parent sees it, and the proof that it is not what limits a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.child import Child
from bench.load.outcome import OK, Outcome, outcome_of, percentile
from bench.load.target import Target

# What the generator must be able to do, beside what is asked of it; and how much of a figure may be its own lag.
SEVERAL = 3.0
FAR_BELOW = 0.1
_ANSWERED = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A closed loop: 200s a second, how many of each status, and latencies from sent to answered."""

    connections: int
    rate: float
    counts: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The same texts to a fixed reply, `rate` a second: what the generator, and HTTP, make of it themselves."""

    rate: float
    answered: float
    lag_p50_ms: float
    lag_p99_ms: float
    p99_ms: float
    cpu: float

    def holds(self, rows: Sequence[Outcome]) -> bool:
        """Whether it was asked for several times what these rows were, and neither it nor they are the generator's."""
        return (
            self.answered >= _ANSWERED
            and all(row.offered * SEVERAL <= self.rate for row in rows)
            and all(own <= FAR_BELOW * p99 for row in rows for own, p99 in self._beside(row))
        )

    def _beside(self, row: Outcome) -> Sequence[tuple[float, float]]:
        p99 = percentile(row.answered_ms, 99)
        own = (self.lag_p99_ms, self.p99_ms, percentile(row.lag_ms, 99))
        return [(one, p99) for one in own] if row.answered_ms else []


class Asking:
    """A generator, and a server with a fixed reply for its proof; two processes of their own."""

    def __init__(self, stack: ExitStack) -> None:
        self._generator = stack.enter_context(Child("bench.load.generator"))
        fixed = stack.enter_context(Child("bench.listener", "serve", "fixed", "0"))
        self._fixed = Target(name="fixed", kind="sie", host="127.0.0.1", port=fixed.ready["port"])

    def open(
        self, target: Target, workload: str, *, rate: float, seconds: float, deadline_ms: float, seed: int
    ) -> Outcome:
        """So many a second on average, at times of chance. Raises RuntimeError if the generator breaks."""
        return outcome_of(
            self._ask(
                do="open",
                target=target.written(),
                workload=workload,
                rate=rate,
                seconds=seconds,
                deadline_ms=deadline_ms,
                seed=seed,
            )
        )

    def closed(
        self, target: Target, workload: str, *, connections: int, seconds: float, most: int | None = None
    ) -> Closed:
        """As `open`; so many connections, each asking again when it is answered."""
        told = self._ask(
            do="closed",
            target=target.written(),
            workload=workload,
            connections=connections,
            seconds=seconds,
            most=most,
            seed=0,
        )
        return Closed(connections=connections, **told)

    def prove(self, workload: str, *, rate: float, seconds: float, seed: int) -> Proof:
        """`rate`: the highest that was offered in any row that is to be believed."""
        found = self.open(self._fixed, workload, rate=rate * SEVERAL, seconds=seconds, deadline_ms=1000, seed=seed)
        return Proof(
            rate=rate * SEVERAL,
            answered=found.count(OK) / max(1, len(found.status)),
            lag_p50_ms=percentile(found.lag_ms, 50),
            lag_p99_ms=percentile(found.lag_ms, 99),
            p99_ms=percentile(found.answered_ms, 99),
            cpu=found.cpu,
        )

    def _ask(self, **order: Any) -> Mapping[str, Any]:
        return self._generator.ask(json.dumps(order))
