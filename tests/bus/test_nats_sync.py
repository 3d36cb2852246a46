"""Catching up over NATS: any router answers, whatever the size, and whoever cannot answer says so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from sie.bus.catchup import AnswerSync
from sie.bus.nats import NatsBus
from sie.catalog.model import Model
from sie.errors import BusUnavailable, StoreUnavailable
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp, Part
from tests.bus.made import PATIENCE_S, answering, connected, model, settings_for
from tests.bus.natsserver import NatsServer, Stranger


class Truth:
    """A router's, asked in the form of a handler; it keeps what it was asked."""

    def __init__(self, models: Sequence[Model] = (), *, store: str = "store-1", revision: int = 99) -> None:
        self.known = CaughtUp(parts=[Part(store=store, revision=revision, models=list(models))])
        self.asked: list[SyncRequest] = []

    async def __call__(self, request: SyncRequest) -> CaughtUp:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        return self.known


@asynccontextmanager
async def serving(bus: NatsBus, answer: AnswerSync) -> AsyncIterator[None]:
    """The bus answers, and NATS knows of it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering, bus, answer)
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    await bus.sync("default", {})
                    break
                except BusUnavailable as fault:
                    if "nobody" not in fault.message:
                        break
        yield
        nursery.cancel_scope.cancel(reason="done")


@pytest.mark.parametrize("key", [None, "k"])
async def test_what_a_router_knows_arrives_as_it_is_down_to_the_order_of_profiles(
    shared_nats: NatsServer, key: str | None
) -> None:
    truth = Truth([model(number) for number in range(20)])
    settings = settings_for(shared_nats, bus_key=key)
    async with connected(settings) as bus, connected(settings, name="worker-1") as worker, serving(bus, truth):
        caught_up = await worker.sync("default", {"store-1": 42}, "digest")
    assert truth.asked[-1] == SyncRequest(bundle="default", known={"store-1": 42}, digest="digest")
    assert caught_up == truth.known
    (found,), (wanted,) = caught_up.parts, truth.known.parts
    assert [list(one.profiles) for one in found.models] == [list(one.profiles) for one in wanted.models]
    assert (found.store, found.revision, found.whole) == ("store-1", 99, False)


async def test_nothing_new_is_an_answer_too_and_routers_may_ask_for_all(shared_nats: NatsServer) -> None:
    truth = Truth(revision=0)
    async with connected(settings_for(shared_nats)) as bus, serving(bus, truth):
        assert await bus.sync("_all", {"store-1": 0}) == truth.known
    assert truth.asked[-1].bundle == "_all"


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_answer_comes_in_pages_below_the_servers_limit_even_if_one_model_is_above_it(key: str | None) -> None:
    truth = Truth([model(1, "é" * 20_000), *(model(number) for number in range(2, 200))])
    with NatsServer("max_payload: 4096") as server:
        settings = settings_for(server, bus_key=key)
        async with connected(settings) as bus, connected(settings, name="worker-1") as worker, serving(bus, truth):
            assert (await worker.sync("default", {})) == truth.known


async def test_ten_thousand_models_arrive(shared_nats: NatsServer) -> None:
    truth = Truth([model(number) for number in range(10_000)])
    async with connected(settings_for(shared_nats)) as bus, serving(bus, truth):
        assert len((await bus.sync("default", {})).parts[0].models) == 10_000


async def test_each_request_is_answered_by_one_of_the_routers(shared_nats: NatsServer) -> None:
    one, two = Truth(), Truth()
    settings = settings_for(shared_nats)
    async with (
        connected(settings, name="a") as first,
        connected(settings, name="b") as second,
        serving(first, one),
        serving(second, two),
    ):
        before = len(one.asked) + len(two.asked)
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(first.sync, "default", {})
        assert len(one.asked) + len(two.asked) == before + 40
        assert one.asked
        assert two.asked


async def test_without_a_router_that_is_said_at_once(shared_nats: NatsServer) -> None:
    async with connected(settings_for(shared_nats, nats_sync_s=60.0)) as bus:
        with trio.fail_after(5), pytest.raises(BusUnavailable) as nobody:
            await bus.sync("default", {})
    assert "nobody" in nobody.value.message


async def test_a_router_that_cannot_read_its_store_says_so_and_goes_on_answering(shared_nats: NatsServer) -> None:
    truth = Truth()
    failing = True

    async def answer(request: SyncRequest) -> CaughtUp:
        if failing:
            raise StoreUnavailable("the store is away")
        if request.bundle == "broken":
            raise KeyError(request.bundle)
        return await truth(request)

    async with connected(settings_for(shared_nats, nats_sync_s=0.3)) as bus, serving(bus, answer):
        with pytest.raises(BusUnavailable) as away:
            await bus.sync("default", {})
        assert "the store is away" in away.value.message
        failing = False
        for _ in range(10):
            with pytest.raises(BusUnavailable) as broken:
                await bus.sync("broken", {})
            assert "internal error" in broken.value.message
        assert await bus.sync("default", {}) == truth.known


async def test_an_asker_that_gives_up_costs_the_others_nothing(shared_nats: NatsServer) -> None:
    truth = Truth([model(number) for number in range(2000)])
    async with connected(settings_for(shared_nats, nats_message_bytes=8192)) as bus, serving(bus, truth):
        for moment in range(10):
            with trio.move_on_after(moment * 0.003):
                await bus.sync("default", {})
        assert len((await bus.sync("default", {})).parts[0].models) == 2000


async def test_requests_that_are_none_are_counted_and_get_no_answer(shared_nats: NatsServer) -> None:
    truth = Truth()
    subject = "sie.config.sync.default"
    request: dict[str, object] = {"known": {}, "digest": "", "nonce": "n"}
    async with connected(settings_for(shared_nats)) as bus, serving(bus, truth), Stranger(shared_nats) as mallory:
        asked = len(truth.asked)
        await mallory.listen("sie.config.models.*")
        await mallory.say(subject, request, reply="sie.config.models.default")  # where it would do harm
        await mallory.say(subject, {**request, "known": {"s": "0"}}, reply="_INBOX.m")
        await mallory.say(subject, {**request, "nonce": "n" * 10_000}, reply="_INBOX.m")
        await mallory.say(subject, b"garbage", reply="_INBOX.m")
        await mallory.say("sie.config.sync.a>b", request, reply="_INBOX.m")
        await bus.sync("default", {})
        assert len(truth.asked) == asked + 1
        assert bus.statistics().ignored == {"malformed": 5}


async def test_with_a_key_strangers_are_neither_answered_nor_believed(shared_nats: NatsServer) -> None:
    truth = Truth()
    settings = settings_for(shared_nats, bus_key="k", nats_sync_s=0.3)
    async with connected(settings) as bus, Stranger(shared_nats) as mallory:
        await mallory.listen("sie.config.sync.*", group="sie-routers")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def lie() -> None:
                _, reply, content = await mallory.hear()
                head = {"nonce": json.loads(content)["nonce"], "page": 0, "pages": 1}
                lies = {"refused": "", "parts": [{"store": "evil", "revision": 10**9, "whole": True, "models": []}]}
                await mallory.say(reply, json.dumps(head).encode() + b"\n" + json.dumps(lies).encode())

            with pytest.raises(BusUnavailable):
                await bus.sync("default", {})
        assert bus.statistics().ignored == {"forged": 1}
    async with connected(settings) as bus, serving(bus, truth), Stranger(shared_nats) as mallory:
        asked = len(truth.asked)
        request: dict[str, object] = {"known": {}, "digest": "", "nonce": "n"}
        await mallory.say("sie.config.sync.default", request, reply="_INBOX.m")
        await bus.sync("default", {})
        assert len(truth.asked) == asked + 1
        assert bus.statistics().ignored == {"forged": 1}


async def test_one_router_alone_is_asked_at_its_address_and_answers_before_it_shares(shared_nats: NatsServer) -> None:
    one, two = Truth(store="one"), Truth(store="two")
    settings = settings_for(shared_nats)
    async with (
        connected(settings, name="a") as first,
        connected(settings, name="b") as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(first.serve_sync, one)
        nursery.start_soon(second.serve_sync, two)
        for bus, truth in ((first, one), (second, two), (first, one)):
            assert await asked_until_served(second, bus.address) == truth.known
            assert truth.asked[-1] == SyncRequest(bundle="_all", known={"one": 3})
        with pytest.raises(BusUnavailable) as nobody:
            await second.sync("default", {})  # none of them shares
        assert "nobody" in nobody.value.message
        with pytest.raises(BusUnavailable):
            await second.sync_with("feed", {})
        nursery.cancel_scope.cancel(reason="done")


async def asked_until_served(bus: NatsBus, address: str) -> CaughtUp:
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await bus.sync_with(address, {"one": 3})
            except BusUnavailable as fault:
                if "nobody" not in fault.message:
                    raise


async def test_several_parts_arrive_as_they_are(shared_nats: NatsServer) -> None:
    truth = Truth()
    truth.known = CaughtUp(
        parts=[
            Part(store="b", revision=3, models=[model(1), model(2)], whole=True),
            Part(store="a", revision=0, models=[]),
        ]
    )
    async with connected(settings_for(shared_nats)) as bus, serving(bus, truth):
        assert await bus.sync("default", {"a": 0, "c": -1}) == truth.known
    assert truth.asked[-1].known == {"a": 0, "c": -1}
