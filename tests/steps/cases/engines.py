"""Models at work: a request that is withdrawn leaves nothing in line, and nothing held."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing

from sie.errors import ShuttingDown
from sie.services import open_services
from sie.settings import Settings
from sie.testing.device import FakeAdapter, FakeDevice, Script
from sie.testing.steps import Round, Trial
from sie.worker.adapters.contract import Adapter, RunOptions
from sie.worker.compute import Compute
from sie.worker.device import ThreadedDevice
from sie.worker.identity import LoadIdentity
from sie.worker.lane import Lane
from sie.worker.weights import Weights
from tests.steps.table import Place, case
from tests.worker.made import encode, made_model, score

A, B = made_model("org/a"), made_model("org/b")


# -- the engine


class Counted(FakeDevice):
    """Keeps what it has loaded."""

    def __init__(self) -> None:
        memory = Script(load_s=0.1, run_s=0.1, tokenise_s=0.01, memory_bytes=600)
        super().__init__({"org/a": memory, "org/b": memory}, memory_bytes=1000)
        self.adapters: list[FakeAdapter] = []

    async def load(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        adapter = await super().load(identity, weights)
        assert isinstance(adapter, FakeAdapter)
        self.adapters.append(adapter)
        return adapter


@asynccontextmanager
async def computing() -> AsyncIterator[tuple[Compute, Counted]]:
    """Room for one model at a time."""
    device = Counted()
    compute = Compute(Settings(memory_budget_bytes=1000), device=device)
    async with open_services("the round is over") as services:
        await services.start(compute.run)
        yield compute, device


def _requesting(name: str, request: Callable[[Compute], Awaitable[object]]) -> None:
    @case(*name.split(), label=name.split()[0])
    @asynccontextmanager
    async def requesting(place: Place) -> AsyncIterator[Trial]:
        async with computing() as (compute, device), open_services("the round is over") as others:
            busy = trio.Event()
            others.start_soon(_keep_busy, compute, busy)
            others.start_soon(_tick)
            while not device.batches:  # noqa: ASYNC110 -- seen from outside
                await trio.sleep(0.01)

            async def check(done: Round) -> None:
                """Its items leave the queue; what is not on the device yet never gets there; nothing stays held."""
                batches = len(device.batches)
                await busy.wait()
                assert device.batches[batches:] == []
                assert compute.statistics().queue_depth == 0
                await compute.encode(B, None, encode("another"), wait_s=60)  # for which the first has to go
                assert device.batches[batches:] == [("org/b", ["another"])]
                await request(compute)

            yield Trial(act=lambda: request(compute), check=check)


async def _tick() -> None:
    """Steps at which nothing else happens: a cancel while items wait in line."""
    for _ in range(20):
        await trio.sleep(0.03)


async def _keep_busy(compute: Compute, done: trio.Event) -> None:
    """Something to do for the device, for which others wait."""
    await compute.encode(A, None, encode("busy"), wait_s=60)
    done.set()


_requesting(
    "sie.worker.compute:Compute.encode sie.worker.pipeline:Pipeline.submit sie.worker.loading:Loading.hold "
    "sie.worker.pipeline:Pipeline.run",
    lambda compute: compute.encode(A, None, encode("one", "two words"), wait_s=60),
)
_requesting(
    "sie.worker.compute:Compute.score", lambda compute: compute.score(A, None, score("query", "one", "two"), wait_s=60)
)
_requesting(
    "sie.worker.compute:Compute.count_tokens", lambda compute: compute.count_tokens(A, None, ["a b", "c"], wait_s=60)
)
_requesting("sie.worker.compute:Compute.decode", lambda compute: compute.decode(A, None, [], wait_s=60))
_requesting("sie.worker.compute:Compute.preload", lambda compute: compute.preload(B, wait_s=60))


@case("sie.worker.compute:Compute.wait_changed", "sie.worker.loading:Loading.wait_changed")
@asynccontextmanager
async def waiting_for_a_state(place: Place) -> AsyncIterator[Trial]:
    async with computing() as (compute, _), open_services("the round is over") as others:

        async def check(done: Round) -> None:
            """No change is lost."""
            await compute.preload(A)
            assert await compute.wait_changed(0) == compute.changes > 0

        others.start_soon(compute.preload, A)
        yield Trial(act=lambda: compute.wait_changed(0), check=check)


def _running(label: str, *wanted: str) -> None:
    @case(
        *("sie.worker.compute:Compute.run", "sie.worker.loading:Loading.release_all"),
        *("sie.worker.pipeline:Pipeline.run",),
        label=f"Compute.run, {label}",
    )
    @asynccontextmanager
    async def running(place: Place) -> AsyncIterator[Trial]:
        """Whoever waits gets ShuttingDown, and the device's memory is given back."""
        device = Counted()
        compute = Compute(Settings(memory_budget_bytes=1000), device=device)
        told: list[str] = []

        async def ask(name: str) -> None:
            try:
                await compute.encode(made_model(name), None, encode(name), wait_s=60)
                told.append("answered")
            except ShuttingDown:
                told.append("shutting down")

        async def act() -> None:
            async with trio.open_nursery() as services:
                await services.start(compute.run)
                for name in wanted:
                    clients.start_soon(ask, name)
                    while not any(name in texts for _, texts in device.batches):
                        await trio.sleep(0.01)
                services.cancel_scope.cancel(reason="stopped by its owner")

        async with trio.open_nursery() as clients:

            async def check(done: Round) -> None:
                with trio.fail_after(30):
                    while clients.child_tasks:  # noqa: ASYNC110 -- nobody may wait for ever
                        await trio.sleep(0.01)
                assert device.closed or not device.loads
                assert [one.name for one in device.adapters if not one.released] == [], "memory that is not given back"

            yield Trial(act=act, check=check)


_running("with a model at work", "org/a")
_running("as one makes room for another", "org/a", "org/b")


# -- threads


def _in_a_thread(name: str, call: Callable[[ThreadedDevice, FakeAdapter], Awaitable[object]]) -> None:
    @case(name, "sie.worker.lane:Lane.run", clock="real", label=name)
    @asynccontextmanager
    async def in_a_thread(place: Place) -> AsyncIterator[Trial]:
        """One that has not begun never will: the lanes are busy meanwhile."""
        device = ThreadedDevice(Settings())
        adapter = FakeAdapter("org/a", "DenseAdapter", Script())
        free = threading.Event()

        async def check(done: Round) -> None:
            free.set()
            assert await call(device, adapter) is not Ellipsis  # the lane works on
            device.close()

        async def occupy() -> None:
            lanes = (device._device_lane, device._host_lane)
            async with trio.open_nursery() as busy:
                for lane in lanes:
                    busy.start_soon(lane.run, lambda: free.wait(30))

        async def let_go() -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            free.set()

        async with trio.open_nursery() as others:
            others.start_soon(occupy)
            await trio.testing.wait_all_tasks_blocked()
            others.start_soon(let_go)
            yield Trial(act=lambda: call(device, adapter), check=check)


OPTIONS = RunOptions()
_in_a_thread(
    "sie.worker.device:ThreadedDevice.tokenise", lambda device, adapter: device.tokenise(adapter, ["a b"], OPTIONS)
)
_in_a_thread("sie.worker.device:ThreadedDevice.release", lambda device, adapter: device.release(adapter))
_in_a_thread("sie.worker.device:ThreadedDevice.host", lambda device, adapter: device.host(lambda: 1))


@case("sie.worker.lane:Lane.run", clock="real", label="Lane.run")
@asynccontextmanager
async def lane_run(place: Place) -> AsyncIterator[Trial]:
    lane, free, did = Lane("steps"), threading.Event(), list[str]()

    async def let_go() -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        free.set()

    async def check(done: Round) -> None:
        waited = not free.is_set()
        free.set()
        await lane.run(lambda: did.append("after"))
        assert did in (["before", "it", "after"], ["before", "after"])
        assert "it" in did if done.finished else True
        assert not (waited and "it" in did), "it had not begun, and was done"
        lane.close()

    async with trio.open_nursery() as others:
        others.start_soon(lane.run, lambda: did.append("before") if free.wait(30) else None)  # noqa: ASYNC113
        await trio.testing.wait_all_tasks_blocked()
        others.start_soon(let_go)  # noqa: ASYNC113 -- while it waits
        yield Trial(act=lambda: lane.run(lambda: did.append("it")), check=check)
