"""Somebody else on the NATS subjects: with SIE_BUS_KEY no effect at all, without it none that lasts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import trio

from sie.bus.catchup import AnswerSync
from sie.bus.nats import NatsBus
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp
from tests.bus.made import connected, settings_for
from tests.bus.natsserver import NatsServer, Stranger
from tests.faults.client import Client
from tests.faults.cluster import Cluster, metric, open_cluster
from tests.faults.lies import ALL, BUNDLE, GHOST, LIES, SYNC, Said, legacy_lies, lies, nonsense
from tests.faults.verdict import heard, judge, listed
from tests.test_cluster import MODELS, until


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(tmp_path_factory.mktemp("sealed"), environment={"SIE_BUS_KEY": "a secret"}) as running:
        yield running


@pytest.fixture(scope="module")
def unsealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With one look a second, and not every ten: a lie of the right form shows only when the truth is looked at."""
    folder = tmp_path_factory.mktemp("unsealed")
    with open_cluster(folder, routers=1, environment={"SIE_CONFIG_RECONCILE_S": "1"}) as running:
        yield running


@pytest.fixture
def bare(unsealed: Cluster) -> Iterator[Cluster]:
    """Level before each test, whatever was left of the one before."""
    yield unsealed
    try:
        judge(unsealed, Client(unsealed, name="between"))
    except AssertionError:
        for worker in unsealed.workers:
            worker.kill()
        unsealed.start()
        unsealed.wait_whole()


# -- what strangers say


def overheard(cluster: Cluster, client: Client) -> Mapping[str, dict[str, Any]]:
    """What the cluster itself says of one change, by subject."""

    async def listen() -> dict[str, dict[str, Any]]:
        async with Stranger(cluster.nats) as ear:
            await ear.listen("sie.config.models.>")
            assert (await trio.to_thread.run_sync(client.post)).status == 201
            with trio.fail_after(10):
                return {subject: json.loads(content) for subject, _, content in [await ear.hear() for _ in range(2)]}

    return trio.run(listen)


def say(cluster: Cluster, *said: Said, reply: str = "") -> None:
    """Returns when the server has all of it."""

    async def publish() -> None:
        async with Stranger(cluster.nats) as mallory:
            for subject, content in said:
                await mallory.say(subject, content, reply=reply)

    trio.run(publish)


@contextmanager
def answering(cluster: Cluster, answer: Callable[[bytes], bytes]) -> Iterator[list[bytes]]:
    """A stranger who listens where routers do, outside their group, and answers before any of them can."""
    asked: list[bytes] = []
    listening, over = threading.Event(), threading.Event()

    async def answer_all(mallory: Stranger) -> None:
        while True:
            _, reply, content = await mallory.hear()
            asked.append(content)
            await mallory.say(reply, answer(content))

    async def listen() -> None:
        async with Stranger(cluster.nats) as mallory, trio.open_nursery() as nursery:
            await mallory.listen("sie.config.sync.*")
            nursery.start_soon(answer_all, mallory)
            listening.set()
            await trio.to_thread.run_sync(over.wait)
            nursery.cancel_scope.cancel(reason="the test has seen enough")

    thread = threading.Thread(target=trio.run, args=(listen,))
    thread.start()
    try:
        assert listening.wait(10)
        yield asked
    finally:
        over.set()
        thread.join()


# -- the tests


def lying(cluster: Cluster, said: Sequence[Said]) -> None:
    """While it is said no router changes, no worker does as any router hears it, and posts are confirmed by all."""
    client = Client(cluster, name=f"while-{len(cluster.entries())}-entries")
    before = [(listed(router), heard(router)) for router in cluster.routers]
    for at in range(0, len(said), 50):
        say(cluster, *said[at : at + 50])
        assert [(listed(router), heard(router)) for router in cluster.routers] == before
    time.sleep(0.3)
    assert [(listed(router), heard(router)) for router in cluster.routers] == before
    confirmed = [client.post(router) for router in cluster.routers]
    assert [(one.status, one.acked) for one in confirmed] == [(201, len(cluster.workers))] * len(cluster.routers)
    judge(cluster, client)
    no_ghosts(cluster)


def no_ghosts(cluster: Cluster) -> None:
    for part in (*cluster.routers, *cluster.workers):
        for path in ("/v1/models", "/health", "/v1/configs/models"):
            assert GHOST not in httpx.get(part.address + path).text


def test_with_a_key_nothing_that_is_said_has_any_effect(sealed: Cluster) -> None:
    true = overheard(sealed, Client(sealed))
    said = [*lies(true[BUNDLE]).values(), *legacy_lies(true[BUNDLE]).values(), *nonsense(true)]
    lying(sealed, said)
    assert all(metric(worker, "sie_bus_ignored_total", reason="forged") >= 100 for worker in sealed.workers)


def test_with_a_key_a_true_message_has_no_effect_where_it_was_not_said(sealed: Cluster) -> None:
    true = overheard(sealed, Client(sealed, name="replayed"))
    again = [(subject, json.dumps(fields).encode()) for subject in (BUNDLE, ALL, SYNC) for fields in true.values()]
    lying(sealed, again)


def page(asked: bytes) -> bytes:
    """An answer without a seal, of the form that ours have."""
    nonce = json.loads(asked)["nonce"]
    head = json.dumps({"nonce": nonce, "page": 0, "pages": 1}).encode()
    return head + b'\n{"store":"mallory","revision":9,"refused":"","models":[]}'


ANSWERS: Mapping[str, Callable[[bytes], bytes]] = {"nobody": lambda _: b"", "nonsense": lambda _: b"{}", "a page": page}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_with_a_key_who_answers_first_cannot_keep_a_worker_from_the_truth(
    sealed: Cluster, answer: Callable[[bytes], bytes]
) -> None:
    with answering(sealed, answer) as asked:
        late = sealed.worker()
        try:
            late.start()
            until(lambda: httpx.get(f"{late.address}/readyz").status_code, 200, 5)
            assert "first/model" in httpx.get(f"{late.address}/v1/models").text
            assert asked
        finally:
            late.kill()
            sealed.workers.remove(late)


async def serve(router: NatsBus, answer: AnswerSync) -> None:
    with router.sharing():
        await router.serve_sync(answer)


@pytest.mark.parametrize("answer", [ANSWERS["nonsense"], page], ids=["nonsense", "a page"])
async def test_with_a_key_an_answer_without_a_seal_does_not_stand_in_the_way_of_the_true_one(
    nats: NatsServer, answer: Callable[[bytes], bytes]
) -> None:
    """The stranger comes first each time: routers look into their store before they answer."""

    async def slow_truth(_: SyncRequest) -> CaughtUp:
        await trio.sleep(0.2)
        return CaughtUp(parts=[])

    async def answer_first(mallory: Stranger) -> None:
        while True:
            _, reply, content = await mallory.hear()
            await mallory.say(reply, answer(content))

    settings = settings_for(nats, bus_key="a secret")
    async with (
        connected(settings) as router,
        connected(settings, name="worker-1") as worker,
        Stranger(nats) as mallory,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(serve, router, slow_truth)
        await mallory.listen("sie.config.sync.>")
        nursery.start_soon(answer_first, mallory)
        try:
            await trio.sleep(0.2)  # until NATS knows of the router
            assert await worker.sync("default", {}) == CaughtUp(parts=[])
        finally:
            nursery.cancel_scope.cancel(reason="the answer is known")


def no_worker_is_left_with(lie: str, cluster: Cluster) -> None:
    """What a worker was told it finds to be false at its next look at the truth.

    In the form of SIE v0.1.10 nothing is false, for there is no truth to look at: a worker takes that on behind all
    that stores say, counts it nowhere, and no router sends it a request for it.
    """
    client = Client(cluster, name=f"lie-{LIES.index(lie)}")
    true = overheard(cluster, client)[BUNDLE]
    old = legacy_lies(true, "apparition")
    say(cluster, {**lies(true), **old}[lie])
    ended = time.monotonic()
    client.post()  # which, for some, gets the very number that was lied about
    excused = [worker.address for worker in cluster.workers] if lie in old else []
    judge(cluster, client, since=ended, excused=excused)
    no_ghosts(cluster)
    assert not any("apparition" in httpx.get(router.address + MODELS).text for router in cluster.routers)


@pytest.mark.parametrize("lie", LIES)
def test_without_a_key_no_lie_reaches_a_store_or_router_and_workers_find_back_to_the_truth(
    bare: Cluster, lie: str
) -> None:
    no_worker_is_left_with(lie, bare)


def test_without_a_key_nonsense_has_no_effect(bare: Cluster) -> None:
    true = overheard(bare, Client(bare))
    harmless = [one for one in nonsense(true) if one[0] != BUNDLE or GHOST.encode() in one[1]]
    lying(bare, harmless)
