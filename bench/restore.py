"""From started to ready with a large store, beside an empty one and beside only reading its bytes.

`python -m bench restore`. Routers and workers are started beside those that run, on the same store and NATS.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.cluster import Cluster, cluster, store_at
from bench.pictures import Bars
from bench.poster import Poster
from bench.report import plots_option, report
from bench.spread import HEAD, Spread
from bench.stores import fill_store
from sie.store.layout import SNAPSHOT
from tests.processes import sie_process

TARGET_S = 3.0
KINDS = ("router", "worker")


@dataclass
class Starts:
    """ns from the start of a process until it is ready, by kind: with no models, with many; and for reading alone."""

    empty: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    full: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    read: list[int] = field(default_factory=list)

    def ratios(self) -> Mapping[str, Sequence[float]]:
        """Of each round."""
        return {
            f"{kind}: start with all models / with none": [
                full / empty for full, empty in zip(self.full[kind], self.empty[kind], strict=True)
            ]
            for kind in KINDS
        }


def measure(empty: Cluster, full: Cluster, *, rounds: int, chance: random.Random) -> Starts:
    """One of each in turn, in an order left to chance."""
    found = Starts()
    turns = [(one, kind, took) for one, took in ((empty, found.empty), (full, found.full)) for kind in KINDS]
    for _ in range(rounds):
        for one, kind, took in chance.sample(turns, len(turns)):
            took[kind].append(start_ns(one, kind))
        found.read.append(read_ns(Path(full.environment["SIE_CONFIG_STORE_DIR"])))
    return found


def start_ns(beside: Cluster, kind: str) -> int:
    began = time.monotonic_ns()
    with sie_process(kind, environment=beside.environment) as started, Poster(started.address) as client:
        while client.get("/readyz").status != 200:
            time.sleep(0.005)
        return time.monotonic_ns() - began


def read_ns(store: Path) -> int:
    """Only reading the bytes of the newest snapshot."""
    began = time.monotonic_ns()
    max((store / SNAPSHOT).iterdir()).read_bytes()
    return time.monotonic_ns() - began


def text_of(found: Starts, size: int, rounds: int) -> str:
    lines = [f"From started to ready; n = {rounds}   target: {TARGET_S:g} s at most", HEAD]
    for kind in KINDS:
        lines += [Spread(found.empty[kind]).row(f"  {kind}, no models")]
        lines += [Spread(found.full[kind]).row(f"  {kind}, {size} models")]
    lines += [Spread(found.read).row("  beside them: reading the snapshot's bytes")]
    return "\n".join([*lines, *(f"{what:<58}{statistics.median(of):>8.2f}" for what, of in found.ratios().items())])


@click.command()
@click.option("--size", default=10_000, show_default=True, help="Models in the store.")
@click.option("--starts", "rounds", default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the stores lie; default: a temporary folder.")
@click.option("--seed", type=int, help="Of the order; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(size: int, rounds: int, folder: Path | None, seed: int | None, save: bool, plots: bool | None) -> None:
    """How long a router and a worker take to be ready, with many models and with none."""
    seed = seed if seed is not None else random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made, ExitStack() as running:

        def of_size(models: int, name: str) -> Cluster:
            place = Path(made) / name
            place.mkdir()
            variables = running.enter_context(store_at("local", place))
            fill_store(Path(variables["SIE_CONFIG_STORE_DIR"]), models)
            return running.enter_context(cluster(variables, workers=1))

        found = measure(of_size(0, "empty"), of_size(size, "full"), rounds=rounds, chance=random.Random(seed))
    kinds = {
        kind: {"none": Spread(found.empty[kind]).p50 / 1000, f"{size} models": Spread(found.full[kind]).p50 / 1000}
        for kind in KINDS
    }
    report(
        "restore",
        f"{text_of(found, size, rounds)}\nseed {seed}",
        {
            "starts_ms": {
                kind: {"none": Spread(found.empty[kind]).summary(), str(size): Spread(found.full[kind]).summary()}
                for kind in KINDS
            },
            "read_ms": Spread(found.read).summary(),
            "target_s": TARGET_S,
        },
        save=save,
        seed=seed,
        ratios=found.ratios(),
        pictures=[Bars(title="from started to ready", up="s", groups=kinds, level=(TARGET_S, "target"))],
        plots=plots,
    )


if __name__ == "__main__":
    main()
