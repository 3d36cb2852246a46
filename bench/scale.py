"""What a large catalog costs: POSTs and statuses. `python -m bench scale --help`; starts: bench/restore.py."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import trio
from trio_websocket import open_websocket_url

from bench.cluster import Cluster, cluster, store_at
from bench.made import document
from bench.pictures import Bars
from bench.poster import Poster
from bench.report import plots_option, report
from bench.spread import HEAD, Spread, ratios
from bench.stores import fill_store

GROWTH_TARGET = 2.0
STATUS_TARGET = 4096
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


@click.command()
@click.option("--size", "sizes", type=int, multiple=True, default=(1000, 10_000, 100_000), show_default=True)
@click.option("--posts", default=100, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the stores lie; default: a temporary folder.")
@click.option("--seed", type=int, help="Of order and pauses; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(
    sizes: Sequence[int], posts: int, folder: Path | None, seed: int | None, save: bool, plots: bool | None
) -> None:
    """POSTs into catalogs of several sizes, each beside the smallest, and the size of a worker's status."""
    seed = seed if seed is not None else random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made, ExitStack() as running:

        def of_size(size: int) -> Cluster:
            place = Path(made) / str(size)
            place.mkdir()
            variables = running.enter_context(store_at("local", place))
            fill_store(Path(variables["SIE_CONFIG_STORE_DIR"]), size)
            return running.enter_context(cluster(variables, workers=1))

        clusters = {size: of_size(size) for size in sizes}
        statuses = {size: status_bytes(one) for size, one in clusters.items()}
        took = post_costs(clusters, posts=posts, chance=random.Random(seed))
    costs = {size: Spread(ns) for size, ns in took.items()}
    growth = costs[max(sizes)].p50 / costs[min(sizes)].p50
    text = [
        *(f"A worker's status at {size} models: {length} bytes" for size, length in statuses.items()),
        f"{'  target':<58}{STATUS_TARGET:>8} at most",
        "",
        f"One POST, 1 router, 1 worker, local store; n = {posts}",
        HEAD,
        *(one.row(f"  into {size} models") for size, one in costs.items()),
        f"{f'  {max(sizes)} / {min(sizes)}':<58}{growth:>8.2f}   target: {GROWTH_TARGET:g} at most",
    ]
    figures = {
        "status_bytes": {str(size): length for size, length in statuses.items()},
        "status_target": STATUS_TARGET,
        "posts_ms": {str(size): one.summary() for size, one in costs.items()},
        "growth": round(growth, 3),
        "growth_target": GROWTH_TARGET,
    }
    report(
        "scale",
        "\n".join([*text, f"seed {seed}"]),
        figures,
        save=save,
        seed=seed,
        ratios={
            f"POST into {size} / into {min(sizes)}": ratios(took[size], took[min(sizes)])
            for size in sizes
            if size != min(sizes)
        },
        pictures=[
            Bars(
                title="one POST by the models that are there",
                up="ms (p50)",
                groups={str(size): {"POST": one.p50} for size, one in costs.items()},
            )
        ],
        plots=plots,
    )


if __name__ == "__main__":
    main()
