"""What the way through a router adds to a request, in round trips of the bare listener.

The worker costs nothing: a listener with a fixed reply. `python -m bench.hop --help`; its children are
`… route CORE WORKER` and `… relay CORE WORKER`, beside those of bench.listener.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import random
import socket
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any, cast

import click
import trio

from bench.child import Child, say
from bench.made import BUNDLE, entry
from bench.made import catalog as known_at_start
from bench.orders import obey
from bench.pictures import Bars
from bench.report import plots_option, report
from sie.catalog.catalog import Catalog
from sie.http.app import http_app
from sie.http.auth import Access
from sie.http.server import serve_app
from sie.listener.asgi import ASGIApp, Receive, Scope, Send
from sie.listener.server import serve
from sie.program import SWITCH_INTERVAL_S
from sie.router.fleet import Fleet
from sie.router.forward import open_forwarder
from sie.router.proxy import Proxy, proxy_blueprint
from sie.router.revision import reach_min_revision
from sie.settings import Settings
from sie.wire.status import WorkerStatus

_MODEL = "org/model"
_PATH = f"/v1/encode/{_MODEL}"
_STORE = "store"
_MANY = 32
_PROFILED = 60  # lines
_BY_MANY = ("bare", "router")

KINDS = {
    "bare": "listener, a fixed reply",
    "worker": "the worker, asked directly",
    "relay": "the worker, through a bare socket",
    "router": "the worker, through the router",
}


class Known:
    """A catalog with one model beside those that are shipped; sie.router.proxy.Known."""

    def __init__(self) -> None:
        self.catalog: Catalog = known_at_start()
        self.catalog.advance(entry(_MODEL, self.catalog.head + 1))
        self.store_id = _STORE
        self.looking_up = nullcontext

    @property
    def revision(self) -> int:
        return self.catalog.head

    async def wait_revision(self, revision: int) -> None:
        await trio.sleep_forever()


async def route(worker: int) -> None:
    """In a child: a router with one worker, on that port; `cpu` asks for the seconds used."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    known, fleet, settings = Known(), Fleet(), Settings(port=0)
    profile = cProfile.Profile()
    standing = {"bundle": BUNDLE, "ready": True, "store": _STORE, "revision": known.revision}
    url = f"http://127.0.0.1:{worker}"
    fleet.heard(WorkerStatus(name="worker", url=url, loaded_models=(_MODEL,), **standing))  # type: ignore[arg-type]
    reach = partial(
        reach_min_revision, revision=lambda: known.revision, wait_revision=known.wait_revision, within_s=1.0
    )

    async def carry_out(order: str) -> None:
        match order:
            case "cpu":
                say(cpu_s=time.process_time())
            case "profile":
                profile.enable()
                say(profiling=True)
            case "shown":
                profile.disable()
                shown = io.StringIO()
                pstats.Stats(profile, stream=shown).strip_dirs().sort_stats("tottime").print_stats(_PROFILED)
                say(profile=shown.getvalue())

    async with open_forwarder(settings) as forwarder, trio.open_nursery() as nursery:
        proxy = Proxy(known, fleet, forwarder, settings, reach)
        app = http_app(settings, proxy_blueprint(proxy, Access(auth_token=None, admin_token=None)))

        async def named(scope: Scope, receive: Receive, send: Send) -> None:
            """What asks knows one path, whoever it asks."""
            if scope["type"] == "http":
                scope["path"] = _PATH
            await app(cast("Any", scope), cast("Any", receive), cast("Any", send))

        address = await nursery.start(partial(serve_app, cast("Any", named), settings, stop=trio.Event()))
        say(port=int(address.rpartition(":")[2]))
        await obey(carry_out)
        nursery.cancel_scope.cancel(reason="told to end")


async def relay(port: int) -> None:
    """In a child: no router, but what any router on this listener does at least: a send, a wait and a read more."""
    idle: list[socket.socket] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        sock = idle.pop() if idle else _connected(port)
        sock.send(b"POST %b HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n%b" % (_PATH.encode(), len(body), body))
        await trio.lowlevel.wait_readable(sock)
        answer = sock.recv(65536).partition(b"\r\n\r\n")[2]
        idle.append(sock)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    await _serve(app)


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


async def _serve(app: ASGIApp) -> None:
    async def carry_out(order: str) -> None:
        say(cpu_s=time.process_time())

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await nursery.start(partial(serve, app, listeners, stop=trio.Event()))
        say(port=port)
        await obey(carry_out)
        nursery.cancel_scope.cancel(reason="told to end")


class Site:
    """Those that are asked, and who asks them."""

    def __init__(self, stack: ExitStack) -> None:
        def fixed() -> Child:
            return stack.enter_context(Child("bench.listener", "serve", "fixed", "0"))

        self.servers = {"bare": fixed(), "worker": fixed()}
        port = self.servers["worker"].ready["port"]
        for kind, command in (("relay", "relay"), ("router", "route")):
            self.servers[kind] = stack.enter_context(Child("bench.hop", command, "0", str(port)))
        self._asker = stack.enter_context(Child("bench.listener", "ask", "1"))

    def run(self, kind: str, connections: int, seconds: float) -> Mapping[str, float]:
        server = self.servers[kind]
        before = server.ask("cpu")["cpu_s"]
        figures = self._asker.ask(f"{server.ready['port']} {connections} {seconds}")
        used = server.ask("cpu")["cpu_s"] - before
        return {**figures, "cpu_us": used / figures["count"] * 1e6}


Rounds = list[Mapping[str, Mapping[str, float]]]


def measure(site: Site, rounds: int, seconds: float, chance: random.Random) -> Rounds:
    """Each round asks all of them over one connection, and two over many, in an order left to chance."""
    asked = [(kind, kind, 1) for kind in KINDS] + [(f"{kind}, many", kind, _MANY) for kind in _BY_MANY]
    for _, kind, connections in asked:
        site.run(kind, connections, 0.3)
    found: Rounds = []
    for _ in range(rounds):
        order = chance.sample(asked, len(asked))
        found.append({name: site.run(kind, connections, seconds) for name, kind, connections in order})
    return found


def ratios(rounds: Rounds) -> Mapping[str, Sequence[float]]:
    """Of each round: a slow round is slow for all."""

    def added(kind: str) -> Sequence[float]:
        return [(one[kind]["p50_ms"] - one["worker"]["p50_ms"]) / one["bare"]["p50_ms"] for one in rounds]

    return {
        "p50 added by the router / a bare round trip": added("router"),
        "p50 added by a bare socket / a bare round trip": added("relay"),
        "CPU a request, at 32: router / bare": [
            one["router, many"]["cpu_us"] / one["bare, many"]["cpu_us"] for one in rounds
        ],
    }


def line(what: str, connections: int, found: Sequence[Mapping[str, float]]) -> str:
    def median(name: str) -> float:
        return statistics.median(one[name] for one in found)

    p50 = [one["p50_ms"] for one in found]
    between = f"({min(p50):.3f}-{max(p50):.3f})"
    return (
        f"{what:<36}{connections:>4}{median('rps'):>8.0f}{median('p50_ms'):>8.3f} {between:<16}"
        f"{median('p99_ms'):>8.2f}{median('cpu_us'):>8.0f}"
    )


@click.group(invoke_without_command=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--seconds", default=0.7, show_default=True, help="Of each measurement.")
@click.option("--seed", type=int, help="Of the order; default: another each time.")
@click.option("--profile/--no-profile", default=False, help="Say what the router does instead, over one connection.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
@click.pass_context
def main(
    context: click.Context,
    rounds: int,
    seconds: float,
    seed: int | None,
    profile: bool,
    save: bool,
    plots: bool | None,
) -> None:
    """One text in msgpack, answered with 384 floats: by a listener, by a worker, and by it through a router."""
    if context.invoked_subcommand is not None:
        return
    with ExitStack() as stack:
        site = Site(stack)
        if profile:
            site.run("router", 1, 0.5)
            site.servers["router"].ask("profile")
            site.run("router", 1, seconds)
            print(site.servers["router"].ask("shown")["profile"])
            return
        seed = seed if seed is not None else random.randrange(10**6)
        found = measure(site, rounds, seconds, random.Random(seed))
    of_each = ratios(found)
    rows = [(kind, 1, kind) for kind in KINDS] + [(kind, _MANY, f"{kind}, many") for kind in _BY_MANY]
    text = "\n".join(
        [
            f"The servers share one core, who asks has another; {rounds} rounds of {seconds:g} s, medians (least-most)",
            f"{'':<36}{'conn':>4}{'req/s':>8}{'p50 ms':>8} {'':<16}{'p99 ms':>8}{'CPU µs':>8}",
            *(line(KINDS[kind], connections, [one[name] for one in found]) for kind, connections, name in rows),
            *(f"{what:<56}{statistics.median(of):>8.2f}" for what, of in of_each.items()),
            f"seed {seed}",
        ]
    )
    p50 = {KINDS[kind]: {"1": statistics.median(one[kind]["p50_ms"] for one in found)} for kind in KINDS}
    report(
        "hop",
        text,
        {"rounds": found},
        save=save,
        seed=seed,
        ratios=of_each,
        pictures=[Bars(title="a request over one connection, p50", up="ms", groups=p50)],
        plots=plots,
    )


@main.command("route", hidden=True)
@click.argument("core", type=int)
@click.argument("worker", type=int)
def _route(core: int, worker: int) -> None:
    os.sched_setaffinity(0, {core})
    trio.run(route, worker)


@main.command("relay", hidden=True)
@click.argument("core", type=int)
@click.argument("worker", type=int)
def _relay(core: int, worker: int) -> None:
    os.sched_setaffinity(0, {core})
    trio.run(relay, worker)


if __name__ == "__main__":
    main()
