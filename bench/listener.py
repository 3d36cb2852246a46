"""What HTTP costs a request: our listener beside hypercorn, and beside the same bytes from httptools alone.

One core serves, another asks. `python -m bench.listener --help`; its children are `… serve KIND CORE` and
`… ask PORT CORE`.
"""

from __future__ import annotations

import array
import os
import queue
import random
import select
import socket
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click
import httptools
import msgpack
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from quart import Blueprint, request

from bench.child import Child, say
from bench.orders import obey
from bench.pictures import Bars
from bench.report import plots_option, report
from sie.http.app import http_app
from sie.http.body import read_body
from sie.http.server import serve_app
from sie.listener.asgi import ASGIApp, Receive, Scope, Send
from sie.listener.server import serve
from sie.program import SWITCH_INTERVAL_S
from sie.settings import Settings

_HOST = "127.0.0.1"
_BODY: bytes = msgpack.packb({"texts": ["a text of about the length that people ask about, no more"]})
_REQUEST = (
    b"POST /embed HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/msgpack\r\ncontent-length: %d\r\n\r\n"
    % len(_BODY)
) + _BODY
_FLOATS = array.array("f", [0.5] * 384).tobytes()
_ANSWER: bytes = msgpack.packb({"embeddings": [_FLOATS]})
_FIXED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/msgpack\r\ncontent-length: %d\r\n"
    b"date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n" % len(_ANSWER)
) + _ANSWER
_HEADERS = [(b"content-type", b"application/msgpack"), (b"content-length", b"%d" % len(_ANSWER))]

KINDS = {
    "bare": "httptools, a fixed reply",
    "fixed": "listener, a fixed reply",
    "hop": "listener, the app",
    "hypercorn": "hypercorn in serve_app, the app",
    "plain-hypercorn": "hypercorn as it is, the app",
    "quart": "listener, Quart",
    "quart-hypercorn": "hypercorn in serve_app, Quart",
}
CONNECTIONS = (1, 32)


class Batcher:
    """Texts go to one thread in lists, and come back: what a model's queue does, without the model."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._orders: queue.SimpleQueue[list[Item]] = queue.SimpleQueue()
        self._waiting: list[Item] = []
        self._busy = False
        threading.Thread(target=self._compute, daemon=True).start()

    async def embed(self, text: str) -> bytes:
        item = Item(text)
        self._waiting.append(item)
        if not self._busy:
            self._order()
        await trio.lowlevel.wait_task_rescheduled(item.abandon)
        return item.answer

    def _order(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            self._orders.put(self._waiting)
            self._waiting = []

    def _compute(self) -> None:
        while True:
            batch = self._orders.get()
            for item in batch:
                item.answer = _FLOATS
            try:
                self._token.run_sync_soon(self._deliver, batch)
            except trio.RunFinishedError:
                return

    def _deliver(self, batch: list[Item]) -> None:
        for item in batch:
            if item.task is not None:
                trio.lowlevel.reschedule(item.task)
        self._order()


class Item:
    """One text on its way."""

    __slots__ = ("answer", "task", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.answer = b""
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def abandon(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED


def embedding_app(batcher: Batcher) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _live(receive, send)
            return
        message = await receive()
        [text] = msgpack.unpackb(message["body"])["texts"]
        answer = msgpack.packb({"embeddings": [await batcher.embed(text)]})
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": answer})

    return app


async def fixed_app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})


def quart_app(batcher: Batcher) -> Any:
    routes = Blueprint("bench", __name__)

    @routes.post("/embed")
    async def embed() -> tuple[bytes, dict[str, str]]:
        [text] = msgpack.unpackb(await read_body(request, 1_000_000))["texts"]
        return msgpack.packb({"embeddings": [await batcher.embed(text)]}), {"content-type": "application/msgpack"}

    return http_app(Settings(), routes)


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan, which hypercorn asks for."""
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def _serve_bare(listener: trio.SocketListener) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        complete = [0]

        class Counted:
            def on_message_complete(self) -> None:
                complete[0] += 1

        parser = httptools.HttpRequestParser(Counted())
        with sock, suppress(OSError):
            while True:
                await trio.lowlevel.wait_readable(sock)
                received = sock.recv(65536)
                if not received:
                    return
                parser.feed_data(received)
                for _ in range(complete[0]):
                    sock.send(_FIXED)
                complete[0] = 0

    await trio.serve_listeners(answer, [listener])


async def _hop_alone(batcher: Batcher) -> float:
    """One way to the thread and back, in µs (p50)."""
    took = []
    for _ in range(3_000):
        began = time.perf_counter_ns()
        await batcher.embed("")
        took.append(time.perf_counter_ns() - began)
    return statistics.median(took) / 1e3


async def serve_kind(kind: str) -> None:
    """In a child: serve until the standard input ends; `cpu` asks for the seconds used, `hop` for the hop alone."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    batcher = Batcher()
    app: Any = fixed_app if kind == "fixed" else embedding_app(batcher)
    if kind.startswith("quart"):
        app = quart_app(batcher)

    async def carry_out(order: str) -> None:
        if order == "hop":
            say(us=await _hop_alone(batcher))
        else:
            say(cpu_s=time.process_time())

    async with trio.open_nursery() as nursery:
        if kind == "plain-hypercorn":
            config = Config()
            config.bind = [f"{_HOST}:0"]
            config.errorlog = None
            config.keep_alive_max_requests = sys.maxsize
            [url] = await nursery.start(partial(hypercorn_serve, app, config, shutdown_trigger=trio.sleep_forever))
            port = int(url.rpartition(":")[2])
        elif kind.endswith("hypercorn"):
            url = await nursery.start(partial(serve_app, app, Settings(port=0, server="hypercorn"), stop=trio.Event()))
            port = int(url.rpartition(":")[2])
        else:
            listeners = await trio.open_tcp_listeners(0, host=_HOST)
            port = listeners[0].socket.getsockname()[1]
            if kind == "bare":
                nursery.start_soon(_serve_bare, listeners[0])
            else:
                await nursery.start(partial(serve, app, listeners, stop=trio.Event()))
        say(port=port)
        await obey(carry_out)
        nursery.cancel_scope.cancel(reason="told to end")


def ask(port: int, connections: int, seconds: float) -> Mapping[str, Any]:
    """Each connection sends its next request when it has the answer to the last."""
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, int] = {}
    received: dict[int, int] = {}
    sizes: dict[int, int] = {}
    took: list[int] = []
    for _ in range(connections):
        sock = socket.create_connection((_HOST, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = sock.fileno()
        sockets[number] = sock
        received[number] = sizes[number] = 0
        poll.register(number, select.EPOLLIN)
        sent[number] = time.perf_counter_ns()
        sock.send(_REQUEST)
    cpu, began = time.process_time(), time.perf_counter()
    ends = began + seconds
    while time.perf_counter() < ends:
        for number, _events in poll.poll(1):
            content = sockets[number].recv(65536)
            if not sizes[number]:
                sizes[number] = _whole(content)
            received[number] += len(content)
            if received[number] >= sizes[number]:
                now = time.perf_counter_ns()
                took.append(now - sent[number])
                received[number] = sizes[number] = 0
                sent[number] = now
                sockets[number].send(_REQUEST)
    lasted = time.perf_counter() - began
    cpu = time.process_time() - cpu
    poll.close()
    for sock in sockets.values():
        sock.close()
    took.sort()
    return {
        "rps": len(took) / lasted,
        "count": len(took),
        "p50_ms": took[len(took) // 2] / 1e6,
        "p99_ms": took[len(took) * 99 // 100] / 1e6,
        "asker_cpu": cpu / lasted,
    }


def _whole(content: bytes) -> int:
    """How long this answer is. Raises RuntimeError if it is no good one."""
    head, _, _ = content.partition(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length: ")
    if not content.startswith(b"HTTP/1.1 200") or not rest:
        raise RuntimeError(f"not an answer: {content[:200]!r}")
    return len(head) + 4 + int(rest.split(b"\r\n")[0])


@dataclass
class Row:
    """What one kind of server did with so many connections, round by round."""

    kind: str
    connections: int
    rounds: list[Mapping[str, float]] = field(default_factory=list)

    def median(self, name: str) -> float:
        return statistics.median(one[name] for one in self.rounds)

    def __str__(self) -> str:
        rps = [one["rps"] for one in self.rounds]
        between = f"({min(rps):.0f}-{max(rps):.0f})"
        return (
            f"{KINDS[self.kind]:<32}{self.connections:>4}{self.median('rps'):>8.0f} {between:<14}"
            f"{self.median('p50_ms'):>8.2f}{self.median('p99_ms'):>8.2f}{self.median('cpu_us'):>8.0f}"
            f"{self.median('asker_cpu'):>8.0%}"
        )


def measure(rounds: int, seconds: float, chance: random.Random) -> tuple[list[Row], list[float]]:
    """All kinds in turn, in an order left to chance, and how long the hop alone took each time, in µs."""
    rows = [Row(kind, connections) for kind in KINDS for connections in CONNECTIONS]
    hops: list[float] = []
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(Child("bench.listener", "serve", kind, "0")) for kind in KINDS}
        asker = stack.enter_context(Child("bench.listener", "ask", "1"))

        def run(row: Row, seconds: float) -> Mapping[str, float]:
            server = servers[row.kind]
            before = server.ask("cpu")["cpu_s"]
            figures = asker.ask(f"{server.ready['port']} {row.connections} {seconds}")
            used = server.ask("cpu")["cpu_s"] - before
            return {**figures, "cpu_us": used / figures["count"] * 1e6}

        for row in rows:
            run(row, 0.3)
        for _ in range(rounds):
            for row in chance.sample(rows, len(rows)):
                row.rounds.append(run(row, seconds))
            hops.append(servers["hop"].ask("hop")["us"])
    return rows, hops


def ratios(rows: Sequence[Row], hops: Sequence[float]) -> Mapping[str, Sequence[float]]:
    """Of each round: a slow round is slow for both sides."""
    found = {(row.kind, row.connections): row.rounds for row in rows}

    def ratio(name: str, above: tuple[str, int], below: tuple[str, int]) -> Sequence[float]:
        return [one[name] / other[name] for one, other in zip(found[above], found[below], strict=True)]

    floor_ms = [one["p50_ms"] + hop / 1e3 for one, hop in zip(found["fixed", 1], hops, strict=True)]
    return {
        "req/s, the app at 32: listener / hypercorn": ratio("rps", ("hop", 32), ("hypercorn", 32)),
        "req/s, the app at 32: listener / hypercorn as it is": ratio("rps", ("hop", 32), ("plain-hypercorn", 32)),
        "CPU a request, at 32: hypercorn / listener": ratio("cpu_us", ("hypercorn", 32), ("hop", 32)),
        "CPU a request, at 32: hypercorn as it is / listener": ratio("cpu_us", ("plain-hypercorn", 32), ("hop", 32)),
        "req/s at 32: listener with a fixed reply / httptools": ratio("rps", ("fixed", 32), ("bare", 32)),
        "req/s, the app in Quart at 32: listener / hypercorn": ratio("rps", ("quart", 32), ("quart-hypercorn", 32)),
        "p50, the app at 1 / (a fixed reply + the hop alone)": [
            one["p50_ms"] / floor for one, floor in zip(found["hop", 1], floor_ms, strict=True)
        ],
    }


@click.group(invoke_without_command=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
@click.option("--seed", type=int, help="Of the order; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
@click.pass_context
def main(context: click.Context, rounds: int, seconds: float, seed: int | None, save: bool, plots: bool | None) -> None:
    """Requests of one text in msgpack, answered with 384 floats after one hop to a thread and back."""
    if context.invoked_subcommand is not None:
        return
    seed = seed if seed is not None else random.randrange(10**6)
    rows, hops = measure(rounds, seconds, random.Random(seed))
    hop_us, of_each = statistics.median(hops), ratios(rows, hops)
    text = "\n".join(
        [
            f"One core serves, another asks; {rounds} rounds of {seconds:g} s, medians (least and most of req/s)",
            f"{'':<32}{'conn':>4}{'req/s':>8} {'':<14}{'p50 ms':>8}{'p99 ms':>8}{'CPU µs':>8}{'asker':>8}",
            *map(str, rows),
            f"the hop to a thread and back, alone: {hop_us:.0f} µs (p50)",
            *(f"{what:<56}{statistics.median(of):>8.2f}" for what, of in of_each.items()),
            f"seed {seed}",
        ]
    )
    figures = {f"{row.kind}, {row.connections}": row.rounds for row in rows}
    rates = {
        KINDS[kind]: {f"{row.connections}": row.median("rps") for row in rows if row.kind == kind} for kind in KINDS
    }
    report(
        "listener",
        text,
        {"rounds": figures, "hop_us": hops},
        save=save,
        seed=seed,
        ratios=of_each,
        pictures=[Bars(title="requests a second on one core, by connections", up="req/s", groups=rates)],
        plots=plots,
    )


@main.command("serve", hidden=True)
@click.argument("kind")
@click.argument("core", type=int)
def _serve(kind: str, core: int) -> None:
    os.sched_setaffinity(0, {core})
    trio.run(serve_kind, kind)


@main.command("ask", hidden=True)
@click.argument("core", type=int)
def _ask(core: int) -> None:
    os.sched_setaffinity(0, {core})
    say(ready=True)
    for line in sys.stdin:
        port, connections, seconds = line.split()
        say(**ask(int(port), int(connections), float(seconds)))


if __name__ == "__main__":
    main()
