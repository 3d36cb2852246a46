"""From durable to applied on many workers, beside the same bytes to bare callbacks: `python -m bench.fanout --help`."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import click

from bench.child import Child
from bench.pictures import Bars
from bench.report import plots_option, report
from bench.spread import HEAD, Spread, ratios
from tests.bus.natsserver import NatsServer

TARGET = 3.0
_WARM_UP = 10


@dataclass
class Side:
    """What one side took, in ns: `each`, until one of its listeners had it; `last`, until all had."""

    each: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """So many listeners in one process, over so many connections: workers of ours, and callbacks of nats-py."""

    count: int
    connections: int
    ours: Side = field(default_factory=Side)
    bare: Side = field(default_factory=Side)

    @property
    def ratio(self) -> float:
        return Spread(self.ours.last).p50 / Spread(self.bare.last).p50

    def __str__(self) -> str:
        return f"{self.count} in one process, {self.connections} connection{'s' if self.connections > 1 else ''}"


def measure(case: Case, *, rounds: int, chance: random.Random) -> None:
    """Both sides in turn, in an order and with pauses left to chance, over one NATS server."""
    sizes = (str(case.count), str(case.connections))
    with NatsServer() as nats, ExitStack() as stack:

        def start(kind: str, *sizes: str) -> Child:
            return stack.enter_context(Child("bench.simulated", kind, nats.url, *sizes))

        router = start("router")
        router.ask("commit")  # so that there is something to catch up with
        ours = (case.ours, router, start("workers", *sizes))
        bare = (case.bare, start("publisher"), start("callbacks", *sizes))
        router.ask("commit")  # which the bare publisher takes for its pattern
        ours[2].hear()
        sides = [ours, bare]
        for number in range(_WARM_UP + rounds):
            chance.shuffle(sides)
            for side, sender, listeners in sides:
                time.sleep(chance.uniform(0.005, 0.03))
                began: int = sender.ask("commit")["began"]
                took = [int(at) - began for at in listeners.hear()["at"]]
                if number >= _WARM_UP:
                    side.each.extend(took)
                    side.last.append(max(took))


def text_of(cases: Sequence[Case], rounds: int) -> str:
    lines = [f"From durable to applied, beside the same bytes to bare nats-py callbacks; n = {rounds} rounds", HEAD]
    for case in cases:
        lines += [
            str(case),
            Spread(case.ours.each).row("  ours, each worker has applied it"),
            Spread(case.bare.each).row("  bare, each callback was called"),
            Spread(case.ours.last).row("  ours, the last worker"),
            Spread(case.bare.last).row("  bare, the last callback"),
            f"{'  ours / bare, the last':<58}{case.ratio:>8.2f}   target: {TARGET:g} at most",
        ]
    return "\n".join(lines)


def figures_of(cases: Sequence[Case]) -> Mapping[str, Any]:
    return {str(case): _figures(case) for case in cases}


def _figures(case: Case) -> Mapping[str, Any]:
    return {
        "listeners": case.count,
        "connections": case.connections,
        "ratio": round(case.ratio, 3),
        "target": TARGET,
        "ours_each_ms": Spread(case.ours.each).summary(),
        "bare_each_ms": Spread(case.bare.each).summary(),
        "ours_last_ms": Spread(case.ours.last).summary(),
        "bare_last_ms": Spread(case.bare.last).summary(),
    }


@click.command()
@click.option("--count", "counts", type=int, multiple=True, default=(1, 10, 100), show_default=True)
@click.option("--rounds", default=100, show_default=True)
@click.option("--seed", type=int, help="Of order and pauses; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(counts: Sequence[int], rounds: int, seed: int | None, save: bool, plots: bool | None) -> None:
    """From durable to applied on many workers in one process, each on a connection of its own, and all on one."""
    seed = seed if seed is not None else random.randrange(10**6)
    chance = random.Random(seed)
    cases = [Case(count, connections) for count in counts for connections in sorted({1, count})]
    for case in cases:
        measure(case, rounds=rounds, chance=chance)
    last = {
        f"{case.count} over {case.connections}": {
            "ours": Spread(case.ours.last).p50,
            "bare callbacks": Spread(case.bare.last).p50,
        }
        for case in cases
    }
    report(
        "fanout",
        f"{text_of(cases, rounds)}\nseed {seed}",
        figures_of(cases),
        save=save,
        seed=seed,
        ratios={f"{case}: ours / bare, the last": ratios(case.ours.last, case.bare.last) for case in cases},
        pictures=[Bars(title="durable to applied by the last (p50)", up="ms", groups=last)],
        plots=plots,
    )


if __name__ == "__main__":
    main()
