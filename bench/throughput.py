"""How much of what the bare model can do is left once it is served, and where the rest goes.

`sie serve` with all-MiniLM-L6-v2 and clients that ask again when answered; then, in turn with it, the bare model's
forward over batches of the same tokens: as many padded tokens each as the server's own batches had on average, tensors
made before the clock runs. `python -m bench throughput`; its children are `… ask` and `bench.bare`.
"""

from __future__ import annotations

import os
import random
import re
import select
import socket
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import click

from bench.bare import Load
from bench.child import Child, say
from bench.load.target import Target
from bench.pictures import Bars
from bench.report import plots_option, report
from bench.served import Work, serving, target_at, work_of
from bench.texts import encode_request, text, words
from tests.processes import Served

_HOST = "127.0.0.1"
_BEST = 64  # texts in a batch, from where on larger ones bring the bare model nothing
_LOOK_S = 0.01
_EXPORT_S = 300  # at first a backend may have a graph to make
_RATIOS = {
    "of_bare": "served / bare in the same batches",
    "of_best": "served / bare in batches of 64",
    "of_encode": "served / encode",
    "latency_of_encode": "p50 / encode",
    "of_peak": "of the machine's peak",
}
_STAGES = {
    "queue": b"x-queue-time",
    "tokenise": b"x-tokenization-time",
    "compute": b"x-inference-time",
    "split": b"x-postprocessing-time",
}


LOADS = [
    Load("one-short", 32, 1, 16, 16),
    Load("many-short", 8, 32, 16, 16),
    Load("mixed", 8, 32, 8, 200),
    Load("one-client", 1, 1, 16, 16),
]


# -- the asker


def ask(port: int, load: Load, seed: int) -> Mapping[str, Any]:
    """Until a line comes, each connection sends its next request when it has the answer to the last."""
    chance, known = random.Random(seed), words()
    lengths = iter(load.lengths(chance))
    texts = [text(length, known, chance) for length in lengths]
    requests = cycle(encode_request(texts[at : at + load.texts]) for at in range(0, len(texts), load.texts))
    if load.texts * load.connections * 2 > len(texts):
        raise ValueError(f"{load}: too few different texts")
    poll = select.epoll()
    poll.register(sys.stdin, select.EPOLLIN)
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, int] = {}
    unread: dict[int, bytearray] = {}
    took: list[int] = []
    stages: dict[str, float] = dict.fromkeys(_STAGES, 0.0)
    for _ in range(load.connections):
        sock = socket.create_connection((_HOST, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = sock.fileno()
        sockets[number], unread[number] = sock, bytearray()
        poll.register(number, select.EPOLLIN)
    cpu, began = time.process_time(), time.perf_counter()
    for number, sock in sockets.items():
        sent[number] = time.perf_counter_ns()
        sock.sendall(next(requests))
    told = False
    while not (told and took):
        for number, _events in poll.poll():
            if number == sys.stdin.fileno():
                told = bool(sys.stdin.readline())
                continue
            content = unread[number]
            content += sockets[number].recv(1 << 20)
            head, found, body = content.partition(b"\r\n\r\n")
            if found and len(body) >= _length(head):
                now = time.perf_counter_ns()
                took.append(now - sent[number])
                _note(head, stages)
                content.clear()
                sent[number] = now
                sockets[number].sendall(next(requests))
    lasted = time.perf_counter() - began
    cpu = time.process_time() - cpu
    poll.close()
    for sock in sockets.values():
        sock.close()
    took.sort()
    return {
        "requests": len(took),
        "p50_ms": took[len(took) // 2] / 1e6,
        "p99_ms": took[len(took) * 99 // 100] / 1e6,
        "asker_cpu": cpu / lasted,
        "stages_ms": {name: total / len(took) for name, total in stages.items()},
    }


def _length(head: bytes | bytearray) -> int:
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not an answer: {bytes(head[:300])!r}")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    assert found
    return int(found[1])


def _note(head: bytes | bytearray, stages: dict[str, float]) -> None:
    for name, header in _STAGES.items():
        if found := re.search(rb"(?i)" + header + rb": ([\d.]+)", head):
            stages[name] += float(found[1])


# -- the server


@dataclass(frozen=True, slots=True)
class Edge:
    """What the device has done when a batch ended, and when that was, in seconds."""

    at: float
    work: Work


def edge(server: Target) -> Edge:
    """As it is when the next batch has ended."""
    first = now = work_of(server)
    while now.batches == first.batches:
        time.sleep(_LOOK_S)
        now = work_of(server)
    return Edge(time.perf_counter(), now)


def cpu_s(process: int) -> float:
    """What this process has used."""
    with open(f"/proc/{process}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the figures


@dataclass
class Row:
    """One load on one backend, round by round."""

    load: Load
    backend: str
    rounds: list[Mapping[str, Any]] = field(default_factory=list)

    def median(self, name: str) -> float:
        return float(statistics.median(one[name] for one in self.rounds))

    def stage(self, name: str) -> float:
        return float(statistics.median(one["stages_ms"][name] for one in self.rounds))


def run_round(row: Row, served: Served, asker: Child, bare: Child, seconds: float, seed: int) -> None:
    """Served, then bare in the same batches, bare in the best, and the library's own; the peak beside them."""
    load, server = row.load, target_at(served.address)
    asker.tell(f"{server.port} {load} {seed}")
    edge(server)  # from here on the queue is as full as it gets
    before, cpu = edge(server), cpu_s(served.process.pid)
    time.sleep(seconds)
    after, cpu = edge(server), cpu_s(served.process.pid) - cpu
    asked = asker.ask("enough")
    lasted, spent = after.at - before.at, after.work - before.work
    texts_s = spent.items / lasted
    padded = (spent.tokens + spent.padding) / spent.batches
    floor = bare.ask(f"forward {load} {padded} {seconds / 2} {seed}")
    best = bare.ask(f"forward {load} {_BEST * (load.shortest + load.longest) / 2} {seconds / 2} {seed}")
    library = bare.ask(f"encode {load} {seconds / 2} {seed}")
    peak = bare.ask(f"peak {0.5}")
    row.rounds.append(
        {
            **asked,
            "texts_s": texts_s,
            "batch_items": spent.items / spent.batches,
            "batch_tokens": padded,
            "batch_ms": 1000 * spent.seconds / spent.batches,
            "padding": spent.padding / (spent.padding + spent.tokens),
            "computing": spent.seconds / lasted,
            "server_cpu": cpu / lasted,
            "bare_texts_s": floor["texts_s"],
            "encode_texts_s": library["texts_s"],
            "encode_p50_ms": library["p50_ms"],
            "of_bare": texts_s / floor["texts_s"],
            "best_texts_s": best["texts_s"],
            "of_best": texts_s / best["texts_s"],
            "of_encode": texts_s / library["texts_s"],
            "latency_of_encode": asked["p50_ms"] / library["p50_ms"],
            "bare_of_peak": floor["flops"] / peak["flops"],
            "of_peak": floor["flops"] / peak["flops"] * texts_s / floor["texts_s"],
            "peak_flops": peak["flops"],
        }
    )


def text_of(rows: Sequence[Row], rounds: int, seconds: float) -> str:
    lines = [
        f"medians of {rounds} rounds of {seconds:g} s; texts/s",
        f"{'':<12}{'backend':<9}{'served':>8}{'bare':>8}{'ratio':>7}{'of best':>8}{'encode':>8}{'ratio':>7}"
        f"{'of peak':>8}{'batch':>7}{'ms':>8}{'padding':>8}{'device':>8}{'p50 ms':>8}{'p99 ms':>8}{'asker':>7}",
    ]
    for row in rows:
        median = row.median
        lines.append(
            f"{row.load.name:<12}{row.backend:<9}{median('texts_s'):>8.1f}{median('bare_texts_s'):>8.1f}"
            f"{median('of_bare'):>7.2f}{median('of_best'):>8.2f}{median('encode_texts_s'):>8.1f}{median('of_encode'):>7.2f}"
            f"{median('of_peak'):>8.0%}{median('batch_items'):>7.1f}{median('batch_ms'):>8.1f}"
            f"{median('padding'):>8.1%}{median('computing'):>8.1%}{median('p50_ms'):>8.1f}{median('p99_ms'):>8.1f}"
            f"{median('asker_cpu'):>7.1%}"
        )
    lines.append(f"\n{'a request, mean ms':<21}" + "".join(f"{name:>10}" for name in _STAGES) + f"{'p50 / encode':>14}")
    for row in rows:
        stages = "".join(f"{row.stage(name):>10.2f}" for name in _STAGES)
        lines.append(f"{row.load.name:<12}{row.backend:<9}{stages}{row.median('latency_of_encode'):>14.2f}")
    return "\n".join(lines)


@click.group(invoke_without_command=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=8.0, show_default=True, help="Of each measurement.")
@click.option("--load", "loads", multiple=True, type=click.Choice([one.name for one in LOADS]), help="Default: all.")
@click.option("--backend", "backends", multiple=True, default=["onednn"], show_default=True)
@click.option("--seed", type=int, help="Of texts and order; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
@click.pass_context
def main(
    context: click.Context,
    rounds: int,
    seconds: float,
    loads: Sequence[str],
    backends: Sequence[str],
    seed: int | None,
    save: bool,
    plots: bool | None,
) -> None:
    """Texts a second through `sie serve`, beside the bare model's own."""
    if context.invoked_subcommand is not None:
        return
    seed = seed if seed is not None else random.randrange(10**6)
    chance = random.Random(seed)
    chosen = [one for one in LOADS if not loads or one.name in loads]
    rows = [Row(load, backend) for load in chosen for backend in backends]
    with ExitStack() as stack:
        servers = {
            backend: stack.enter_context(serving({"SIE_BACKEND": backend}, patience_s=_EXPORT_S))
            for backend in backends
        }
        asker = stack.enter_context(Child("bench.throughput", "ask"))
        bare = stack.enter_context(Child("bench.bare"))
        for at in range(rounds):
            for row in chance.sample(rows, len(rows)):
                run_round(row, servers[row.backend], asker, bare, seconds, seed + at)
    of_each = {
        f"{row.load.name}, {row.backend}: {what}": [one[name] for one in row.rounds]
        for row in rows
        for name, what in _RATIOS.items()
    }
    peers = {"bare, same batches": "of_bare", "bare, batches of 64": "of_best", "encode": "of_encode"}
    pictures = [
        Bars(
            title="Texts a second through sie serve",
            up="of the peer's",
            groups={
                f"{row.load.name}, {row.backend}": {peer: row.median(name) for peer, name in peers.items()}
                for row in rows
            },
            level=(1.0, "as many"),
        )
    ]
    report(
        "throughput",
        f"{text_of(rows, rounds, seconds)}\nseed {seed}",
        {f"{row.load.name}, {row.backend}": row.rounds for row in rows},
        save=save,
        seed=seed,
        ratios=of_each,
        pictures=pictures,
        plots=plots,
    )


@main.command("ask", hidden=True)
def _ask() -> None:
    say(ready=True)
    for line in sys.stdin:
        port, *load, seed = line.split()
        say(**ask(int(port), Load.of(load), int(seed)))


if __name__ == "__main__":
    main()
