"""The process that asks: `python -m bench.load.generator`, told by lines of JSON. One thread, bytes made beforehand.

Open loop: requests are sent when their time has come, whatever became of those before, and each one's latency counts
from the time it was scheduled for: a server that stalls is not asked less, and this process being late makes the
figures worse, never better. Closed loop: so many connections, each sending its next request when it is answered.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from bench.child import say
from bench.load.arrivals import WORKLOADS, poisson
from bench.load.clients import FAILED, Clients, Ended
from bench.load.outcome import OK, UNANSWERED, batches
from bench.load.target import Target
from bench.texts import text, words

# More than are ever under way at once at a server that takes what it can: two that are the same could share a row.
DIFFERENT = 4096
_CYCLES = 2
_SLOW_S = 30.0  # for a server that takes so long for its cycles


class Book:
    """What is known of each request, by its number."""

    def __init__(self, scheduled: Sequence[int]) -> None:
        """In ns of the monotonic clock."""
        self._scheduled = scheduled
        self.sent = [0] * len(scheduled)
        self._took = [0] * len(scheduled)
        self._status = [UNANSWERED] * len(scheduled)
        self._run_ms: list[float] = []

    def end(self, found: Ended) -> None:
        self._took[found.number] = found.at - self._scheduled[found.number]
        self._status[found.number] = found.status
        if found.status == OK and found.run_ms is not None:
            self._run_ms.append(found.run_ms)

    def told(self) -> Mapping[str, Any]:
        """As `Outcome` takes it, but for what the load as a whole was."""
        lag = [sent - due for sent, due in zip(self.sent, self._scheduled, strict=True)]
        return {
            "lag_ms": [round(one / 1e6, 3) for one in lag],
            "took_ms": [round(one / 1e6, 3) for one in self._took],
            "status": self._status,
            "batches_ms": batches(self._run_ms),
        }


def open_loop(
    target: Target,
    requests: Sequence[bytes],
    times: Sequence[float],
    seconds: float,
    deadline_ms: float,
    patience_s: float = 5.0,
) -> Mapping[str, Any]:
    """One request at each of the times. What is not answered `patience_s` after the deadline is given up."""
    began = time.monotonic_ns() + 1_000_000
    scheduled = [began + int(one * 1e9) for one in times]
    book = Book(scheduled)
    clients = Clients(target.host, target.port, book.end)
    cpu = time.process_time()
    for number, (due, request) in enumerate(zip(scheduled, cycle(requests), strict=False)):
        clients.wait(0)
        while (left := due - time.monotonic_ns()) > 0:
            clients.wait(left / 1e9)
        book.sent[number] = time.monotonic_ns()
        clients.ask(number, request)
    used = (time.process_time() - cpu) / max(seconds, (time.monotonic_ns() - began) / 1e9)
    ends = time.monotonic() + deadline_ms / 1000 + patience_s
    while clients.under_way and (still := ends - time.monotonic()) > 0:
        clients.wait(still)
    clients.close()
    return {**book.told(), "seconds": seconds, "deadline_ms": deadline_ms, "cpu": used}


def closed_loop(
    target: Target, requests: Sequence[bytes], connections: int, seconds: float, most: int | None = None
) -> Mapping[str, Any]:
    """For so many seconds, and until each connection was answered some times; or until `most` were answered in all.
    A connection that fails asks no more.

    `rate`: 200s a second, from the answer that ends every connection's first request to the last one in time.
    """
    counts: dict[int, int] = {}
    took: list[int] = []
    good: list[int] = []
    sent: dict[int, int] = {}
    bodies = cycle(requests)
    began, cpu = time.monotonic(), time.process_time()
    ends = began + seconds

    def goes_on() -> bool:
        if most is not None:
            return len(took) + clients.under_way < most
        return time.monotonic() < ends or len(took) < _CYCLES * connections

    def end(found: Ended) -> None:
        if found.status == OK and goes_on():
            good.append(found.at)
        counts[found.status] = counts.get(found.status, 0) + 1
        took.append(found.at - sent[found.number])
        if goes_on() and found.status != FAILED:
            ask(found.number)

    def ask(number: int) -> None:
        sent[number] = time.monotonic_ns()
        clients.ask(number, next(bodies))

    clients = Clients(target.host, target.port, end)
    for number in range(connections):
        ask(number)
    while clients.under_way and (still := ends + _SLOW_S - time.monotonic()) > 0:
        clients.wait(still)
    lasted = time.monotonic() - began
    clients.close()
    took.sort()
    return {
        "rate": steady(good, connections),
        "counts": {str(status): count for status, count in counts.items()},
        "p50_ms": took[len(took) // 2] / 1e6 if took else None,
        "p99_ms": took[len(took) * 99 // 100] / 1e6 if took else None,
        "cpu": (time.process_time() - cpu) / lasted,
    }


def steady(at: Sequence[int], connections: int) -> float:
    """Answers a second, of their times in ns and in order. They come in batches: what is counted begins and ends with
    one, and the first ones, when the queue was not full yet, are left out."""
    if len(at) <= connections:
        return 0.0
    return (len(at) - connections) / max(1, at[-1] - at[connections - 1]) * 1e9


class Generator:
    """Carries out orders, and keeps the bytes it has made."""

    def __init__(self) -> None:
        self._words = words()
        self._made: dict[tuple[Any, ...], Sequence[bytes]] = {}

    def carry_out(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """`do`: `open` or `closed`; `target`, `workload`, `seed` and what the loop takes."""
        target, seed = Target(**order["target"]), order["seed"]
        if order["do"] == "open":
            times = poisson(order["rate"], order["seconds"], random.Random(seed))
            requests = self._requests(target, order["workload"], order["deadline_ms"])
            return self._undisturbed(open_loop, target, requests, times, order["seconds"], order["deadline_ms"])
        requests = self._requests(target, order["workload"], None)
        return self._undisturbed(
            closed_loop, target, requests, order["connections"], order["seconds"], order.get("most")
        )

    def _undisturbed(self, loop: Any, *arguments: Any) -> Mapping[str, Any]:
        gc.collect()
        gc.disable()
        try:
            found: Mapping[str, Any] = loop(*arguments)
        finally:
            gc.enable()
        return found

    def _requests(self, target: Target, workload: str, deadline_ms: float | None) -> Sequence[bytes]:
        """The same texts each time, whatever asks for them: who is compared is asked the same."""
        key = (target, workload, deadline_ms)
        if key not in self._made:
            chance = random.Random(workload)
            lengths = WORKLOADS[workload].drawn(DIFFERENT, chance)
            self._made[key] = [target.request(text(one, self._words, chance), deadline_ms) for one in lengths]
        return self._made[key]


def main() -> None:
    """Until the standard input ends."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    generator = Generator()
    say(ready=True)
    for line in sys.stdin:
        say(**generator.carry_out(json.loads(line)))


if __name__ == "__main__":
    main()
