"""What a large catalog costs: POSTs, statuses, and starts. `python -m bench.scale --help`."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import trio
from trio_websocket import open_websocket_url

from bench.cluster import Cluster, cluster, store_at
from bench.made import document
from bench.poster import Poster
from bench.report import report
from bench.spread import HEAD, Spread
from bench.stores import fill_store
from sie.store.layout import SNAPSHOT
from tests.processes import sie_process

GROWTH_TARGET = 2.0
STATUS_TARGET = 4096
START_TARGET_S = 3.0
_WARM_UP = 10


def post_costs(clusters: Mapping[int, Cluster], *, posts: int, chance: random.Random) -> Mapping[int, list[int]]:
    """ns of each POST, by the size of the catalog it went to; one to each in turn, in an order left to chance."""
    took: dict[int, list[int]] = {size: [] for size in clusters}
    with ExitStack() as stack:
        clients = [(size, stack.enter_context(Poster(one.router.address))) for size, one in clusters.items()]
        for number in range(_WARM_UP + posts):
            chance.shuffle(clients)
            for size, client in clients:
                time.sleep(chance.uniform(0.01, 0.05))
                answered = client.post(document(f"bench/posted-{number}"))
                if answered.status != 201:
                    raise RuntimeError(f"answered {answered.status}: {answered.content!r}")
                if number >= _WARM_UP:
                    took[size].append(answered.took)
    return took


def status_bytes(running: Cluster) -> int:
    """Of the message that each worker sends when it is dialled, the largest. It is ASCII."""

    async def dial(address: str) -> int:
        async with open_websocket_url(f"{address.replace('http', 'ws', 1)}/ws/status") as connection:
            return len(await connection.get_message())

    return max(trio.run(dial, one.address) for one in running.workers)


def starts(clusters: Mapping[str, Cluster], *, rounds: int) -> Mapping[str, Mapping[str, list[int]]]:
    """ns from the start of a process until it is ready, by kind and catalog: more routers and workers beside those
    that run, on the same store and NATS; one of each in turn."""
    took: dict[str, dict[str, list[int]]] = {kind: {name: [] for name in clusters} for kind in ("router", "worker")}
    for _ in range(rounds):
        for name, one in clusters.items():
            for kind in took:
                began = time.monotonic_ns()
                with sie_process(kind, environment=one.environment) as started, Poster(started.address) as client:
                    while client.get("/readyz").status != 200:
                        time.sleep(0.005)
                    took[kind][name].append(time.monotonic_ns() - began)
    return took


def read_ns(store: Path) -> int:
    """Only reading the bytes of the newest snapshot."""
    began = time.monotonic_ns()
    max((store / SNAPSHOT).iterdir()).read_bytes()
    return time.monotonic_ns() - began


@click.command()
@click.option("--size", "sizes", type=int, multiple=True, default=(1000, 10_000, 100_000), show_default=True)
@click.option("--posts", default=100, show_default=True)
@click.option("--start-size", default=10_000, show_default=True, help="Models in the catalog of what is started.")
@click.option("--starts", "start_rounds", default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the stores lie; default: a temporary folder.")
@click.option("--seed", type=int, help="Of order and pauses; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
def main(
    sizes: Sequence[int],
    posts: int,
    start_size: int,
    start_rounds: int,
    folder: Path | None,
    seed: int | None,
    save: bool,
) -> None:
    """POSTs into catalogs of several sizes, the size of a worker's status, and starts, each beside a small catalog."""
    seed = seed if seed is not None else random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made, ExitStack() as running:

        def of_size(size: int, name: str, stack: ExitStack) -> Cluster:
            place = Path(made) / name
            place.mkdir()
            variables = stack.enter_context(store_at("local", place))
            fill_store(Path(variables["SIE_CONFIG_STORE_DIR"]), size)
            return stack.enter_context(cluster(variables, workers=1))

        small, large = of_size(0, "empty", running), of_size(start_size, "start", running)
        text = [
            f"A worker's status at {start_size} models: {status_bytes(large)} bytes   target: {STATUS_TARGET} at most"
        ]
        figures: dict[str, Any] = {"status_bytes": status_bytes(large), "status_target": STATUS_TARGET}
        ready = starts({"empty": small, f"{start_size} models": large}, rounds=start_rounds)
        read = Spread([read_ns(Path(large.environment["SIE_CONFIG_STORE_DIR"])) for _ in range(start_rounds)])
        text += ["", f"From started to ready; n = {start_rounds}   target: {START_TARGET_S:g} s at most", HEAD]
        text += [Spread(ns).row(f"  {kind}, {name}") for kind, found in ready.items() for name, ns in found.items()]
        text += [read.row("  beside them: reading the snapshot's bytes")]
        figures["starts_ms"] = {
            kind: {name: Spread(ns).summary() for name, ns in found.items()} for kind, found in ready.items()
        }
        running.close()

        clusters = {size: of_size(size, str(size), running) for size in sizes}
        costs = {size: Spread(ns) for size, ns in post_costs(clusters, posts=posts, chance=random.Random(seed)).items()}
        growth = costs[max(sizes)].p50 / costs[min(sizes)].p50
        text += ["", f"One POST, 1 router, 1 worker, local store; n = {posts}", HEAD]
        text += [one.row(f"  into {size} models") for size, one in costs.items()]
        text += [f"{f'  {max(sizes)} / {min(sizes)}':<58}{growth:>8.2f}   target: {GROWTH_TARGET:g} at most"]
        figures["posts_ms"] = {str(size): one.summary() for size, one in costs.items()}
        figures |= {"growth": round(growth, 3), "growth_target": GROWTH_TARGET}
    report("scale", "\n".join([*text, f"seed {seed}"]), figures, save=save)


if __name__ == "__main__":
    main()
