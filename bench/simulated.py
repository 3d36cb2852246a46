"""Both ends of a fan-out, as children of bench.fanout: ours, and bare nats-py with callbacks that do nothing but stamp.

`python -m bench.simulated KIND NATS_URL [COUNT CONNECTIONS]`, KIND one of:
`router`: a config plane, its store in memory; it commits and publishes a new model each time it is told to.
`workers`: what a worker does with a change, COUNT times in this process: heard over the bus, taken on, its digest made.
`callbacks`, `publisher`: with nats-py alone, the bytes that the router published first, again each time it is told to,
to as many subscriptions over as many connections.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Mapping

import nats
import trio
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.child import say
from bench.made import BUNDLE, catalog, document
from bench.orders import obey, obey_nothing
from sie.bus.contract import Bus, Notice
from sie.bus.nats import NatsBus
from sie.catalog.change import read_change
from sie.flow import Order, keep_bundle_current
from sie.program import SWITCH_INTERVAL_S
from sie.router.plane import open_plane
from sie.settings import Settings
from sie.wire.notification import bundle_subject
from sie.worker.follow import BundleCatalog, CaughtUp, Part
from sie.worker.truth import AskRouters

_SUBJECT = "bench.fanout"


class Heard:
    """When each of the listeners had a change; told to the parent once all have."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._at: dict[int, list[int]] = defaultdict(list)

    def note(self, change: int) -> None:
        at = self._at[change]
        at.append(time.monotonic_ns())
        if len(at) == self._count:
            say(at=at)
            del self._at[change]


class Stamped:
    """A bus, and when it was last asked to publish: by then the change was durable."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.began = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.bus, name)

    async def publish(self, notice: Notice) -> None:
        self.began = time.monotonic_ns()
        await self.bus.publish(notice)


async def router(nats_url: str) -> None:
    async with open_plane(Settings(nats_url=nats_url)) as (plane, _):
        writer = plane.writer
        bus = Stamped(writer.bus)
        writer.bus = bus  # type: ignore[assignment]  # the rest of it is passed through
        numbers = itertools.count()

        async def carry_out(_: str) -> None:
            change = read_change(document(f"bench/model-{next(numbers)}"), writer.limits)
            commit = await writer.submit(Order(change=change))
            assert not commit.warnings, commit.warnings
            say(began=bus.began)

        while not writer.bus.connected:
            await trio.sleep(0.01)
        say(ready=True)
        await obey(carry_out)


async def workers(nats_url: str, count: int, connections: int) -> None:
    """`count` workers' catalogs, shared out over so many connections, each with a bus, and its thread, of its own."""
    files, heard = catalog(), Heard(count)
    buses = [NatsBus(Settings(nats_url=nats_url), name=f"worker-{number}") for number in range(connections)]
    known = [BundleCatalog(BUNDLE, files.files_only) for _ in range(count)]

    async def follow(mine: BundleCatalog, bus: NatsBus) -> None:
        told = 0
        truth = AskRouters(bus, mine)

        async def catch_up(bundle: str, known: Mapping[str, int]) -> CaughtUp | None:
            """Once. Each that joins a bus nudges all before it: a hundred would ask ten thousand times."""
            if mine.caught_up and not mine.gap:
                await trio.lowlevel.checkpoint()
                return CaughtUp(parts=[Part(store=one, revision=at, models=()) for one, at in known.items()])
            return await truth(bundle, known)

        def report() -> None:
            nonlocal told
            if mine.complete_to > told:
                if told:
                    heard.note(mine.complete_to)
                told = mine.complete_to
            mine.catalog.digest(BUNDLE)  # which a status says

        with bus.follow(BUNDLE) as hints:
            await keep_bundle_current(hints, bundle=mine, catch_up=catch_up, report=report)

    async with trio.open_nursery() as nursery:
        for bus in buses:
            await nursery.start(bus.run)
        for bus in buses:
            while not bus.connected:
                await bus.wait_changed(bus.connection)
        for number, bundle in enumerate(known):
            nursery.start_soon(follow, bundle, buses[number % connections])
        while not all(one.caught_up for one in known):
            await trio.sleep(0.01)
        gc.freeze()  # as every process of ours, once it serves
        say(ready=True)
        await obey_nothing()
        nursery.cancel_scope.cancel(reason="told to end")


async def callbacks(nats_url: str, count: int, connections: int) -> None:
    heard, changes = Heard(count), [0] * count
    clients: list[Client] = [await nats.connect(nats_url) for _ in range(connections)]
    for number in range(count):

        async def note(_: Msg, number: int = number) -> None:
            changes[number] += 1
            heard.note(changes[number])

        await clients[number % connections].subscribe(_SUBJECT, cb=note)
    for client in clients:
        await client.flush()
    say(ready=True)
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        await client.close()


async def publisher(nats_url: str) -> None:
    client = await nats.connect(nats_url)
    first = await client.subscribe(bundle_subject(BUNDLE), max_msgs=1)
    await client.flush()
    say(ready=True)
    content = (await first.next_msg(timeout=60)).data
    while await asyncio.to_thread(sys.stdin.readline):
        began = time.monotonic_ns()
        await client.publish(_SUBJECT, content)
        await client.flush()
        say(began=began)
    await client.close()


def main(kind: str, nats_url: str, count: int = 0, connections: int = 0) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as every process of ours
    match kind:
        case "router":
            trio.run(router, nats_url)
        case "workers":
            trio.run(workers, nats_url, count, connections)
        case "callbacks":
            asyncio.run(callbacks(nats_url, count, connections))
        case "publisher":
            asyncio.run(publisher(nats_url))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
