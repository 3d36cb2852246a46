"""What requests leave behind in the process that served them: `python -m bench memory`.

The server is a worker's real app over HTTP whose model costs nothing, so that many requests take little time. Its
resident set is read between runs of a closed loop, each on connections of its own; growth is the slope of a straight
line through what was read after the warm-up, so that one late allocation does not pass for a leak.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from bench.child import Child
from bench.load.arrivals import WORKLOADS
from bench.load.asking import Asking, Closed
from bench.load.target import Target
from bench.pictures import Lines
from bench.report import plots_option, report
from bench.served import target_at

TARGET_MB = 20.0
_PATIENCE_S = 25


def resident_mb(process: int) -> float:
    """What of it is in memory, in MB of a million bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {process} has no memory")


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line with the least squares."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


class Samples:
    """Requests answered and MB resident, and how fast it went."""

    def __init__(self, points: Sequence[tuple[float, float]], rates: Sequence[float]) -> None:
        self.points = points
        self.rates = rates

    @property
    def grown_mb(self) -> float:
        """By the line through them, from the first to the last."""
        return slope(self.points) * (self.points[-1][0] - self.points[0][0])

    @property
    def halves_mb(self) -> Sequence[float]:
        """By the same line through each half, as if it had gone on so: a leak grows in both, a warm-up in one."""
        middle = len(self.points) // 2
        whole = self.points[-1][0] - self.points[0][0]
        return [slope(half) * whole for half in (self.points[: middle + 1], self.points[middle:])]


def measure(
    asking: Asking, target: Target, process: int, *, warm_up: int, requests: int, every: int, connections: int
) -> Samples:
    """So many requests after those of the warm-up, which are to bring every text there is at least once."""

    def ask(count: int) -> Closed:
        found = asking.closed(target, "short", connections=connections, seconds=_PATIENCE_S, most=count)
        if found.counts != {"200": count}:
            raise click.ClickException(f"not every request was answered: {found.counts}")
        return found

    ask(warm_up)
    points, rates = [(0, resident_mb(process))], []
    for done in range(every, requests + 1, every):
        rates.append(ask(every).rate)
        points.append((done, resident_mb(process)))
    return Samples(points, rates)


def text_of(found: Samples, connections: int) -> str:
    marks = [point for at, point in enumerate(found.points) if at % max(1, len(found.points) // 10) == 0]
    first, second = found.halves_mb
    return "\n".join(
        [
            f"{found.points[-1][0]} requests of {WORKLOADS['short'].said}, one text each, {connections} connections, "
            f"{statistics.median(found.rates):.0f}/s; a model that costs nothing",
            f"{'requests':>10}{'MB resident':>14}",
            *(f"{done:>10}{resident:>14.2f}" for done, resident in marks),
            f"growth by the line through all: {found.grown_mb:.2f} MB   target: {TARGET_MB:g} at most",
            f"through the first half alone, as if it had gone on: {first:.2f} MB; the second: {second:.2f} MB",
        ]
    )


@click.command()
@click.option("--warm-up", default=10_000, show_default=True, help="Requests before the first look.")
@click.option("--requests", default=200_000, show_default=True)
@click.option("--every", default=10_000, show_default=True, help="Requests between two looks at the memory.")
@click.option("--connections", default=32, show_default=True)
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(warm_up: int, requests: int, every: int, connections: int, save: bool, plots: bool | None) -> None:
    """Memory of a server over many requests that cost its device nothing."""
    if requests < 4 * every:
        raise click.BadParameter("four times --every at least, for a line in each half", param_hint="--requests")
    with ExitStack() as stack:
        server = stack.enter_context(Child("bench.costless"))
        target = target_at(server.ready["address"])
        found = measure(
            Asking(stack),
            target,
            server.process_id,
            warm_up=warm_up,
            requests=requests,
            every=every,
            connections=connections,
        )
    figures = {
        "resident_mb": found.points,
        "rate": [round(one, 1) for one in found.rates],
        "grown_mb": round(found.grown_mb, 3),
        "halves_mb": [round(one, 3) for one in found.halves_mb],
        "target_mb": TARGET_MB,
    }
    resident = Lines(title="memory", across="requests", up="MB resident", lines={"server": found.points})
    report(
        "memory",
        text_of(found, connections),
        figures,
        save=save,
        seed=0,  # the texts are the same each time, and nothing else is left to chance
        ratios={"growth / target": [one / TARGET_MB for one in found.halves_mb]},
        pictures=[resident],
        plots=plots,
    )


if __name__ == "__main__":
    main()
