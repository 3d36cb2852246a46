"""How long a request takes that comes when it likes, and what is left of the goodput when more come than can be served.

`python -m bench latency`. Saturation is what a closed loop gets out of the server; then requests come at random times
(Poisson) at shares of it, one text each, and every latency counts from the time a request was scheduled for. A
deadline goes with each. Another server stands beside ours with `--against NAME=openai+http://host:port`.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click

from bench.load.arrivals import WORKLOADS
from bench.load.asking import Asking, Proof
from bench.load.outcome import PERCENTILES, REFUSED, TIMED_OUT, interval, percentile
from bench.load.sides import TARGET_SHARE, Measurement, Plan, Side
from bench.load.target import Target, read_target
from bench.pictures import Lines, Picture
from bench.report import plots_option, report
from bench.served import serving, target_at
from bench.texts import MODEL

TARGET_BATCHES = 4.0
TARGET_GOODPUT = 0.9

_HEAD = (
    f"{'':<7}{'offered':>8}{'goodput':>8}{'503':>7}{'504':>7}{'late':>6}{'failed':>7}"
    + "".join(f"{f'p{share} ms':>21}" for share in PERCENTILES)
    + f"{'batch ms':>9}{'p99/batch':>10}{'lag p99':>8}"
)


def rows_of(side: Side, proof: Proof, seed: int) -> list[str]:
    """The table of one side; a row that the generator may have made itself is marked."""
    lines = [
        f"{side.target.name}: "
        + "; ".join(
            f"{one.rate:.0f}/s from {one.connections} connections in a closed loop (p99 {one.p99_ms:.0f} ms)"
            for one in side.closed
        ),
        _HEAD,
    ]
    for share, outcomes in side.rows.items():
        median = {name: statistics.median(getattr(one, name) for one in outcomes) for name in ("offered", "goodput")}
        total = [sum(one.count(status) for one in outcomes) for status in (REFUSED, TIMED_OUT)]
        took = [one.answered_ms for one in outcomes]
        pooled = [one for run in took for one in run]
        batch = statistics.median(one.batch_ms for one in outcomes)
        p99 = percentile(pooled, 99)
        lines.append(
            f"{share:<7.0%}{median['offered']:>8.1f}{median['goodput']:>8.1f}{total[0]:>7}{total[1]:>7}"
            f"{sum(one.late for one in outcomes):>6}{sum(one.failed for one in outcomes):>7}"
            + "".join(f"{_with_interval(took, pooled, at, seed):>21}" for at in PERCENTILES)
            + f"{batch:>9.1f}{p99 / batch:>10.2f}"
            f"{max(percentile(one.lag_ms, 99) for one in outcomes):>8.2f}"
            + ("" if proof.holds(outcomes) else "  INVALID: the generator")
        )
    if side.highest is not None:
        lines.append(f"{'':<7}{side.highest:>8.1f}  the highest rate with p99 within the target")
    else:
        lines.append("       p99 is within the target at none of the rates tried")
    return lines


def _with_interval(took: Sequence[Sequence[float]], pooled: Sequence[float], share: float, seed: int) -> str:
    low, high = interval(took, share, seed)
    return f"{percentile(pooled, share):.1f} ({low:.0f}-{high:.0f})"


def text_of(found: Mapping[str, tuple[Sequence[Side], Proof]], plan: Plan, seed: int) -> str:
    lines = [
        f"Requests at random times, one text each, deadline {plan.deadline_ms:g} ms; {plan.rounds} rounds of "
        f"{plan.seconds:g} s; rates are shares of saturation, the best closed loop of ours",
        "latency of 200s from the scheduled send, all rounds together; in brackets 95 % by a bootstrap over blocks",
    ]
    for name, (sides, proof) in found.items():
        lines += ["", f"{name}: {WORKLOADS[name].said}; target of the search: p99 {plan.p99_ms:g} ms"]
        for side in sides:
            lines += rows_of(side, proof, seed)
        lines.append(
            f"generator: against a fixed reply at {proof.rate:.0f}/s {proof.answered:.1%} answered, lag p50 "
            f"{proof.lag_p50_ms:.2f}, p99 {proof.lag_p99_ms:.2f} ms, latency p99 {proof.p99_ms:.2f} ms, "
            f"{proof.cpu:.0%} of a core; a row is valid if these and its own lag are a tenth of its p99 at most"
        )
    lines.append(
        f"\ntarget: p99 at {TARGET_SHARE:.0%} {TARGET_BATCHES:g} x the median batch at most; goodput above "
        f"saturation {TARGET_GOODPUT:g} of its peak at least"
    )
    for sides, _ in found.values():
        for side in sides:
            lines += [f"{what:<72}{statistics.median(of):>8.2f}" for what, of in side.ratios().items() if of]
    return "\n".join(lines)


def figures_of(found: Mapping[str, tuple[Sequence[Side], Proof]], plan: Plan) -> Mapping[str, Any]:
    return {
        "plan": asdict(plan),
        "workloads": {
            name: {
                "proof": asdict(proof),
                "sides": {
                    side.target.name: {
                        "closed": [asdict(one) for one in side.closed],
                        "open": {f"{share:.0%}": [one.summary() for one in of] for share, of in side.rows.items()},
                        "search": [one.summary() for one in side.search],
                        "highest": side.highest,
                    }
                    for side in sides
                },
            }
            for name, (sides, proof) in found.items()
        },
    }


def pictures_of(found: Mapping[str, tuple[Sequence[Side], Proof]]) -> Sequence[Picture]:
    """Of each workload: latency, and goodput, over what is offered."""
    pictures: list[Picture] = []
    for name, (sides, _) in found.items():
        latency: dict[str, Sequence[tuple[float, float]]] = {}
        goodput: dict[str, Sequence[tuple[float, float]]] = {}
        for side in sides:
            pooled = {
                statistics.median(one.offered for one in of): [took for one in of for took in one.answered_ms]
                for of in side.rows.values()
            }
            for at in (50, 99):
                points = [(rate, percentile(took, at)) for rate, took in pooled.items() if took]
                latency[f"{side.target.name}, p{at}"] = points
            goodput[side.target.name] = [
                (statistics.median(one.offered for one in of), statistics.median(one.goodput for one in of))
                for of in side.rows.values()
            ]
        across = "requests a second offered"
        level = (sides[0].saturation, "saturation (closed loop)")
        pictures += [
            Lines(title=f"{name}: latency", across=across, up="ms", lines=latency, logarithmic=True),
            Lines(title=f"{name}: goodput", across=across, up="in time a second", lines=goodput, level=level),
        ]
    return pictures


def _targets(said: Sequence[str], model: str) -> list[Target]:
    try:
        return [read_target(one, model) for one in said]
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--against") from None


@click.command()
@click.option("--workload", "names", multiple=True, type=click.Choice(list(WORKLOADS)), help="Default: all.")
@click.option("--seconds", default=7.0, show_default=True, help="Of each load.")
@click.option("--rounds", default=3, show_default=True, help="Of each rate.")
@click.option("--steps", default=5, show_default=True, help="Of the search for the highest goodput.")
@click.option("--deadline-ms", default=1000.0, show_default=True, help="Of each request, and told to the server.")
@click.option("--target-ms", default=500.0, show_default=True, help="p99 that the search keeps to.")
@click.option("--against", multiple=True, metavar="NAME=KIND+URL", help="Another server; KIND: openai or sie.")
@click.option("--against-model", default=MODEL, show_default=True, help="What they call the model.")
@click.option("--quick", is_flag=True, help="A minute or so: one round of 1.5 seconds, one step.")
@click.option("--seed", type=int, help="Of times and order; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(
    names: Sequence[str],
    seconds: float,
    rounds: int,
    steps: int,
    deadline_ms: float,
    target_ms: float,
    against: Sequence[str],
    against_model: str,
    quick: bool,
    seed: int | None,
    save: bool,
    plots: bool | None,
) -> None:
    """Requests that come at random times: how long each takes, and how many are served in time."""
    seed = seed if seed is not None else random.randrange(10**6)
    if quick:
        seconds, rounds, steps = 1.5, 1, 1
    plan = Plan(seconds=seconds, rounds=rounds, steps=steps, deadline_ms=deadline_ms, p99_ms=target_ms)
    others = _targets(against, against_model)
    found: dict[str, tuple[Sequence[Side], Proof]] = {}
    with ExitStack() as stack:
        served = stack.enter_context(serving())
        measurement = Measurement(Asking(stack), plan, random.Random(seed))
        for name in names or WORKLOADS:
            sides = [Side(one, name) for one in (target_at(served.address), *others)]
            found[name] = (sides, measurement.measure(sides))
    ratios = {what: of for sides, _ in found.values() for side in sides for what, of in side.ratios().items() if of}
    report(
        "latency",
        f"{text_of(found, plan, seed)}\nseed {seed}",
        figures_of(found, plan),
        save=save,
        seed=seed,
        ratios=ratios,
        pictures=pictures_of(found),
        plots=plots,
    )


if __name__ == "__main__":
    main()
