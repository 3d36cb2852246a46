"""One POST to a cluster, from sent to answered, beside the sum of its parts: `python -m bench.propagation --help`."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from bench.child import Child
from bench.cluster import Cluster, cluster, store_at
from bench.made import document
from bench.pictures import Bars, Picture
from bench.poster import Answered, Poster
from bench.report import plots_option, report
from bench.spread import HEAD, Spread, ratios

TARGET = 4.0
_WARM_UP = 20
_PARTS = {
    "append": "  append to the store, a process alone",
    "publish": "  NATS publish -> receive through the bridge, two processes",
    "say": "  one WebSocket message, two processes",
}
_STAGES = {
    "committed": "  committed (the router's watch shows it)",
    "published": "  published (a NATS subscriber has it)",
    "first": "  applied by the first worker (its status says so)",
    "last": "  applied by the last worker",
    "answered": "  answered",
}


@dataclass
class Run:
    """What was measured so far, in ns."""

    posts: list[int] = field(default_factory=list)
    gets: list[int] = field(default_factory=list)
    parts: dict[str, list[int]] = field(default_factory=lambda: {part: [] for part in _PARTS})
    observed: dict[str, list[int]] = field(default_factory=lambda: {stage: [] for stage in _STAGES})
    unconfirmed: int = 0  # answers that came without every worker's ack
    unseen: int = 0  # changes that an observer did not see within its patience


class Parts:
    """The two processes that do the parts of a POST alone."""

    def __init__(self, stack: ExitStack, nats_url: str, store: Mapping[str, str]) -> None:
        self._near = stack.enter_context(Child("bench.floors", "near", nats_url, environment={**os.environ, **store}))
        self._far = stack.enter_context(Child("bench.floors", "far", nats_url, str(self._near.ready["port"])))

    def measure(self, part: str) -> int:
        """ns it took."""
        told = self._near.ask(part)
        ended: int = told["ended"] if part == "append" else self._far.hear()["heard"]
        return ended - int(told["began"])


class Measurement:
    """A client, a cluster, the parts of a POST, and what they have taken so far."""

    def __init__(self, running: Cluster, client: Poster, parts: Parts, chance: random.Random) -> None:
        self.run = Run()
        self._running = running
        self._client = client
        self._parts = parts
        self._chance = chance

    def warm_up(self) -> None:
        for number in range(_WARM_UP):
            self._post(f"bench/warm-{number}")
            self._client.get("/healthz")
            for part in _PARTS:
                self._parts.measure(part)

    def in_turn(self, posts: int) -> None:
        """POSTs, their parts and GETs, in an order and with pauses left to chance."""
        kinds = ["post", "get", *_PARTS]
        for number in range(posts):
            self._chance.shuffle(kinds)
            for kind in kinds:
                time.sleep(self._chance.uniform(0.005, 0.03))  # of no rhythm: what polls would be met at any phase
                match kind:
                    case "post":
                        self.run.posts.append(self._post(f"bench/model-{number}").took)
                    case "get":
                        self.run.gets.append(self._client.get("/healthz").took)
                    case _:
                        self.run.parts[kind].append(self._parts.measure(kind))

    def watched(self, posts: int) -> None:
        """POSTs alone, with observers beside the cluster."""
        places = [urlsplit(self._running.nats_url).netloc, self._running.router.address]
        with Child("bench.taps", *places, *(one.address for one in self._running.workers)) as taps:
            for number in range(posts):
                time.sleep(self._chance.uniform(0.02, 0.1))
                answered = self._post(f"bench/watched-{number}")
                self._take(answered, taps.ask(str(answered.body["config_revision"])))

    def _take(self, answered: Answered, seen: Mapping[str, int]) -> None:
        applied = sorted(at for where, at in seen.items() if where.startswith("applied"))
        if "committed" not in seen or "published" not in seen or len(applied) < len(self._running.workers):
            self.run.unseen += 1
            return
        stamps = {"committed": seen["committed"], "published": seen["published"], "answered": answered.answered}
        stamps |= {"first": applied[0], "last": applied[-1]}
        for stage, at in stamps.items():
            self.run.observed[stage].append(at - answered.sent)

    def _post(self, name: str) -> Answered:
        answered = self._client.post(document(name))
        if answered.status != 201:
            raise RuntimeError(f"{name} was answered {answered.status}: {answered.content!r}")
        self.run.unconfirmed += answered.body["acked_workers"] != len(self._running.workers)
        return answered


def text_of(run: Run, *, workers: int, store: str) -> str:
    parts = {name: Spread(durations) for name, durations in run.parts.items()}
    posts, total = Spread(run.posts), sum(one.p50 for one in parts.values())
    lines = [
        f"One POST, 1 router, {workers} workers over NATS, {store} store; n = {len(run.posts)}",
        HEAD,
        posts.row(f"POST -> 201 with {workers} acks"),
        "its parts, alone, in turn with the POSTs:",
        *(parts[name].row(title) for name, title in _PARTS.items()),
        f"{'  their sum':<58}{total:>8.2f}",
        f"{'POST / sum of parts':<58}{posts.p50 / total:>8.2f}   target: {TARGET:g} at most",
        Spread(run.gets).row("beside them: GET /healthz of the same router, same client"),
        f"answers without every ack: {run.unconfirmed}; changes not seen by an observer: {run.unseen}",
        "",
        f"When a change is seen on its way, from sent; n = {len(run.observed['answered'])}; observing costs time too",
        HEAD,
        *(Spread(run.observed[stage]).row(title) for stage, title in _STAGES.items()),
        "",
        "POST -> 201, as many as it took so long",
        posts.histogram(),
    ]
    return "\n".join(lines)


def figures_of(run: Run) -> Mapping[str, Any]:
    parts = {name: Spread(durations) for name, durations in run.parts.items()}
    return {
        "post_ms": Spread(run.posts).summary(),
        "parts_ms": {name: one.summary() for name, one in parts.items()},
        "ratio": round(Spread(run.posts).p50 / sum(one.p50 for one in parts.values()), 3),
        "target": TARGET,
        "get_healthz_ms": Spread(run.gets).summary(),
        "unconfirmed": run.unconfirmed,
        "unseen": run.unseen,
        "observed_ms": {stage: Spread(durations).summary() for stage, durations in run.observed.items()},
        "posts_us": [one // 1000 for one in run.posts],
    }


def pictures_of(run: Run) -> Sequence[Picture]:
    parts = {name: Spread(durations).p50 for name, durations in run.parts.items()}
    bars = {"POST -> 201": {"p50": Spread(run.posts).p50}, "sum of parts": {"p50": sum(parts.values())}}
    stages = {stage: {"p50": Spread(durations).p50} for stage, durations in run.observed.items() if durations}
    return [
        Bars(
            title="one POST, and its parts alone",
            up="ms",
            groups=bars | {name: {"p50": p50} for name, p50 in parts.items()},
        ),
        Bars(title="when a change is seen on its way", up="ms from sent", groups=stages),
    ]


@click.command()
@click.option("--posts", default=300, show_default=True, help="POSTs alone, and as many again that are watched.")
@click.option("--workers", default=3, show_default=True)
@click.option("--store", type=click.Choice(["local", "s3"]), default="local", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the stores lie; default: a temporary folder.")
@click.option("--seed", type=int, help="Of order and pauses; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(
    posts: int, workers: int, store: str, folder: Path | None, seed: int | None, save: bool, plots: bool | None
) -> None:
    """One POST from sent to answered, beside the sum of its parts."""
    seed = seed if seed is not None else random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made, ExitStack() as stack:
        variables = stack.enter_context(store_at(store, Path(made)))
        own = {**variables, "SIE_CONFIG_STORE_DIR": f"{variables['SIE_CONFIG_STORE_DIR']}-floor"}
        running = stack.enter_context(cluster(variables, workers=workers))
        client = stack.enter_context(Poster(running.router.address))
        found = Measurement(running, client, Parts(stack, running.nats_url, own), random.Random(seed))
        found.warm_up()
        found.in_turn(posts)
        found.watched(posts)
    name = "propagation" if store == "local" else f"propagation-{store}"
    report(
        name,
        text_of(found.run, workers=workers, store=store) + f"\nseed {seed}",
        figures_of(found.run),
        save=save,
        seed=seed,
        ratios={"POST / sum of parts": ratios(found.run.posts, *found.run.parts.values())},
        pictures=pictures_of(found.run),
        plots=plots,
    )


if __name__ == "__main__":
    main()
