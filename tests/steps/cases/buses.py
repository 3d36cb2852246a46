"""Buses: what was cancelled may have reached some; nobody hears anything torn, and the next word gets through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio
import trio.testing

from sie.bus.bridge import Bridge
from sie.bus.contract import Bus, Elsewhere, Hint, Notice, Nudge
from sie.bus.events import Event, Message, Subject, Up
from sie.bus.joined import JoinedBus, WiderBus
from sie.bus.local import LocalBus
from sie.bus.nats import BusStatistics, Connection, NatsBus
from sie.bus.servers import read_servers
from sie.errors import BusUnavailable
from sie.services import open_services
from sie.testing.steps import Round, Trial
from sie.wire.heads import Heads
from sie.wire.sync import SyncRequest, router_subject
from sie.worker.follow import BundleCatalog, CaughtUp, Part
from sie.worker.truth import AskRouters
from tests.bus.made import (
    PATIENCE_S,
    answering,
    bus_threads,
    connected,
    model,
    notice,
    reminder,
    running,
    settings_for,
    wait_connected,
    wait_nudged,
)
from tests.bus.natsserver import NatsServer
from tests.steps.cluster import BUNDLE, FILES
from tests.steps.table import Place, case

HEADS = Heads(router_id="router-1", address="a", store="s", bundles={BUNDLE: 1}, known={"s": 1})


class Wider(LocalBus):
    """One that takes a moment before it takes anything."""

    async def publish(self, notice: Notice) -> None:
        await trio.lowlevel.checkpoint()
        await super().publish(notice)

    def statistics(self) -> BusStatistics:
        return BusStatistics(connection=Connection(), received=0, ignored={})


def heard(hints: trio.MemoryReceiveChannel[Hint]) -> list[Hint]:
    return [hints.receive_nowait() for _ in range(hints.statistics().current_buffer_used)]


def _within(name: str, make: Callable[[], Bus]) -> None:
    @case(f"{name}.publish", f"{name}.remind", label=name)
    @asynccontextmanager
    async def telling(place: Place) -> AsyncIterator[Trial]:
        """Every follower here hears it at once, or not at all."""
        bus = make()
        said = [notice(1, BUNDLE), Elsewhere("store-1", 1)]

        async def act() -> None:
            await bus.publish(notice(1, BUNDLE))
            await bus.remind(reminder(BUNDLE, revision=1))

        with bus.follow(BUNDLE) as one, bus.follow(BUNDLE) as two:

            async def check(done: Round) -> None:
                first = heard(one)
                assert first == heard(two) == said[: len(first)]
                assert not done.finished or first == said
                await act()
                assert heard(one) == heard(two) == said

            yield Trial(act=act, check=check)


def joined() -> Bus:
    wider: WiderBus = Wider()
    return JoinedBus(LocalBus(), wider)


_within("sie.bus.local:LocalBus", LocalBus)
_within("sie.bus.joined:JoinedBus", joined)


# -- over a real NATS server: the socket decides when something comes, so only the caller's own steps are tried


def server(place: Place) -> NatsServer:
    found = place.request.getfixturevalue("step_nats")
    assert isinstance(found, NatsServer)
    return found


@asynccontextmanager
async def two_on(place: Place) -> AsyncIterator[tuple[NatsBus, NatsBus]]:
    settings = settings_for(server(place), nats_sync_s=0.3)  # what a router was asked before it was stopped is silence
    async with connected(settings) as router, connected(settings, name="router-2") as other:
        yield router, other


@case(
    *("sie.bus.nats:NatsBus.publish", "sie.bus.nats:NatsBus.remind", "sie.bus.nats:NatsBus.say_heads"),
    "sie.bus.bridge:Bridge.publish",
    whose="own",
    clock="real",
)
@asynccontextmanager
async def publishing(place: Place) -> AsyncIterator[Trial]:
    async with two_on(place) as (bus, other):
        with other.follow(BUNDLE) as hints, other.follow_heads() as heads:
            await wait_nudged(hints)
            await wait_nudged(heads)

            async def act() -> None:
                await bus.publish(notice(1, BUNDLE))
                await bus.remind(reminder(BUNDLE, revision=1))
                await bus.say_heads(HEADS)

            async def check(done: Round) -> None:
                """Some may have gone out, or still go, after what comes later; the next does, whole."""
                await bus.publish(notice(2, BUNDLE))
                await bus.remind(reminder(BUNDLE, revision=9))
                acts: Sequence[Hint] = (notice(1, BUNDLE), Elsewhere("store-1", 1), Elsewhere("s", 1), Nudge())
                heard: list[Hint] = []
                with trio.fail_after(PATIENCE_S):
                    while len(heard) < 2:
                        hint = await hints.receive()
                        heard += [hint] if hint not in acts else []
                assert heard == [notice(2, BUNDLE), Elsewhere("store-1", 9)]

            yield Trial(act=act, check=check)


def parts() -> CaughtUp:
    return CaughtUp(parts=[Part(store="s", revision=9, models=[model(one) for one in range(3)], whole=True)])


async def tell(request: SyncRequest) -> CaughtUp:
    await trio.lowlevel.checkpoint()
    return parts()


def _catching_up(*names: str, ask: Callable[[NatsBus, NatsBus], Awaitable[CaughtUp | None]], label: str) -> None:
    @case(*names, "sie.bus.catchup:CatchUp.ask", whose="own", clock="real", label=label)
    @asynccontextmanager
    async def catching_up(place: Place) -> AsyncIterator[Trial]:
        async with two_on(place) as (router, asker), open_services("the round is over") as services:
            services.start_soon(answering, router, tell)
            await _reachable(asker)

            async def check(done: Round) -> None:
                assert not asker._catch_up._turns, "an answer is still waited for"
                found = await ask(asker, router)
                assert found is not None
                assert [one.revision for one in found.parts] == [9]

            yield Trial(act=lambda: ask(asker, router), check=check)


async def _reachable(asker: NatsBus) -> None:
    with trio.fail_after(20):
        while True:
            try:
                await asker.sync(BUNDLE, {})
            except BusUnavailable:
                await trio.sleep(0.01)
            else:
                return


def _router(asker: NatsBus) -> AskRouters:
    return AskRouters(asker, BundleCatalog(BUNDLE, FILES.files_only))


async def _ask_routers(asker: NatsBus, router: NatsBus) -> CaughtUp | None:
    truth = _router(asker)
    found = await truth(BUNDLE, {})
    await truth.aclose()
    return found


_catching_up("sie.bus.nats:NatsBus.sync", ask=lambda asker, _: asker.sync(BUNDLE, {}), label="NatsBus.sync")
_catching_up(
    "sie.bus.nats:NatsBus.sync_with",
    ask=lambda asker, router: asker.sync_with(router.address, {}),
    label="NatsBus.sync_with",
)
_catching_up(
    *("sie.worker.truth:AskRouters.__call__", "sie.worker.truth:AskRouters.aclose"),
    ask=_ask_routers,
    label="AskRouters",
)


@case("sie.bus.nats:NatsBus.serve_sync", "sie.bus.catchup:CatchUp.answer_all", whose="own", clock="real")
@asynccontextmanager
async def answering_others(place: Place) -> AsyncIterator[Trial]:
    async with two_on(place) as (router, asker):

        async def act() -> None:
            async with open_services("answered once") as services:
                services.start_soon(answering, router, tell)
                await _reachable(asker)

        async def check(done: Round) -> None:
            """It listens no more, and can begin again."""
            assert not router._listeners[Subject(router_subject(router.address))]
            await act()

        yield Trial(act=act, check=check)


@case(
    *("sie.bus.nats:NatsBus.run", "sie.bus.nats:NatsBus.wait_changed"),
    *("sie.bus.bridge:Bridge.run", "sie.bus.bridge:Bridge.receive"),
    whose="own",
    clock="real",
)
@asynccontextmanager
async def being_on_it(place: Place) -> AsyncIterator[Trial]:
    settings = settings_for(server(place))
    before = bus_threads()

    async def act() -> None:
        async with running(settings) as bus:
            await wait_connected(bus)

    async def check(done: Round) -> None:
        """Once it has ended, its thread has ended too."""
        assert bus_threads() <= before
        await act()

    yield Trial(act=act, check=check)


@case("sie.bus.bridge:Bridge.receive", whose="all", clock="real", label="Bridge.receive")
@asynccontextmanager
async def receiving(place: Place) -> AsyncIterator[Trial]:
    settings = settings_for(server(place))
    bridge = Bridge(read_servers(settings), settings, name="steps")
    events: list[Event] = []
    subject = Subject("steps.events")

    async def say() -> None:
        for number in range(3):
            bridge.tell(Message("steps.events", b"%d" % number))
            await trio.sleep(0.001)

    async def receive(enough: Callable[[], bool]) -> None:
        while not enough():
            events.extend(await bridge.receive())

    def all_came() -> bool:
        return sum(isinstance(one, Message) for one in events) == 3

    async with open_services("the round is over") as services:
        await services.start(bridge.run)
        bridge.listen(subject)
        with trio.fail_after(20):
            await receive(lambda: any(isinstance(one, Up) for one in events))

        async def check(done: Round) -> None:
            """Nothing is lost, and nothing comes twice."""
            with trio.fail_after(20):
                await receive(all_came)
            assert [one.content for one in events if isinstance(one, Message)] == [b"0", b"1", b"2"]

        services.start_soon(say)
        yield Trial(act=lambda: receive(all_came), check=check)
