"""Routers and workers that die, stop for a while, or come back as somebody else, in the middle of whatever they did."""

from __future__ import annotations

import secrets
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from sie.testing.proxy import Hold
from tests.faults import storage
from tests.faults.client import Answer, Client
from tests.faults.cluster import Cluster, Part, healthy, open_cluster
from tests.faults.verdict import judge
from tests.test_cluster import until

# -- a router that dies


def killed_round(cluster: Cluster, client: Client, after_s: float) -> None:
    """SIGKILL so long after two POSTs began, one of them with a key; then both again, to the router that came back."""
    router, other = cluster.routers
    keys = [None, secrets.token_hex(4)]
    with ThreadPoolExecutor(3) as pool:
        on_their_way = [pool.submit(client.post, router, key=key) for key in keys]
        elsewhere = pool.submit(client.post, other)
        time.sleep(after_s)
        router.kill()
        answers = [one.result() for one in on_their_way]
        assert elsewhere.result().status == 201
    router.start()
    judge(cluster, client)
    for answer, key in zip(answers, keys, strict=True):
        retried = [client.post(router, number=answer.number, key=key) for _ in range(2)]
        assert all(one.accepted for one in retried), (answer, retried)
        if key is not None:
            # The first answer is repeated, and it may be the one that got lost.
            assert len({(one.status, one.created) for one in retried}) == 1, (answer, retried)
        else:
            assert (retried[1].status, retried[1].created) == (200, ()), (answer, retried)
    judge(cluster, client)


def test_a_router_killed_in_the_middle_of_a_post_is_as_one_whose_answer_was_lost(cluster: Cluster) -> None:
    client = Client(cluster, name="killed")
    killed_round(cluster, client, client.chance.uniform(0, 0.1))


def test_a_router_killed_while_its_write_is_on_its_way_may_have_written(cluster: Cluster) -> None:
    killed_in_flight_round(cluster, Client(cluster, name="in-flight"), landed_first=True)


def killed_in_flight_round(cluster: Cluster, client: Client, *, landed_first: bool) -> None:
    """The write lands when its router is dead: before the router that comes back has read the store, or after."""
    router, other = cluster.routers
    key = secrets.token_hex(4)
    with ThreadPoolExecutor(1) as pool, storage.entries(cluster, Hold(), times=1):
        lost = pool.submit(client.post, router, key=key)
        storage.wait_held(cluster)
        router.kill()
        assert lost.result().status == 0
    if landed_first:
        storage.calm(cluster)
        router.start()
    else:
        router.start()
        assert client.post(other).status == 201
        storage.calm(cluster)
    judge(cluster, client)
    number = lost.result().number
    for one in (router, other):
        again = client.post(one, number=number, key=key)
        assert (again.status, again.created) == (201, ("default",)), again
    assert client.post(other, number=number).status == 200
    judge(cluster, client)


# -- a router that stops for a while


def paused_round(cluster: Cluster, client: Client, seconds: float, *, lands_meanwhile: bool) -> None:
    """SIGSTOP while its write is on its way; the other router commits; SIGCONT."""
    router, other = cluster.routers
    with ThreadPoolExecutor(1) as pool, storage.entries(cluster, Hold(), times=1):
        slow: Future[Answer] = pool.submit(client.post, router)
        storage.wait_held(cluster)
        router.pause()
        try:
            if lands_meanwhile:
                storage.before(cluster).release()
                until(lambda: storage.before(cluster).held, 0)
            time.sleep(seconds / 2)
            quick = client.post(other)
            assert quick.status == 201
            time.sleep(seconds / 2)
        finally:
            router.resume()
            storage.before(cluster).release()
        answer = slow.result()
    assert answer.accepted or answer.unknown, answer
    judge(cluster, client)
    for one in cluster.routers:
        assert client.post(one, number=answer.number).accepted
        assert client.post(one, number=quick.number).status == 200
    judge(cluster, client)


@pytest.mark.parametrize("lands_meanwhile", [True, False])
def test_a_router_stopped_in_the_middle_of_a_commit_loses_nothing_and_overwrites_nothing(
    cluster: Cluster, lands_meanwhile: bool
) -> None:
    client = Client(cluster, name=f"stopped-{lands_meanwhile}".lower())
    paused_round(cluster, client, 1, lands_meanwhile=lands_meanwhile)


# -- workers


def restarted_round(cluster: Cluster, client: Client, worker: Part) -> None:
    """It comes back with nothing but its files, and has everything before it says ready."""
    worker.kill()
    answers = [client.post() for _ in range(3)]
    assert {one.status for one in answers} == {201}
    worker.start()
    until(lambda: httpx.get(f"{worker.address}/readyz", timeout=10).status_code, 200)
    judge(cluster, client)
    assert client.post().status == 201
    judge(cluster, client)


def test_a_worker_that_was_killed_comes_back_with_everything(cluster: Cluster) -> None:
    restarted_round(cluster, Client(cluster, name="restarted"), cluster.workers[0])


def stopped_round(cluster: Cluster, client: Client, worker: Part, seconds: float) -> None:
    """A POST does not wait for a worker that has a twin, and for one that has none only as long as documented."""
    worker.pause()
    began = time.monotonic()
    try:
        answers = [client.post() for _ in range(3)]
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    finally:
        worker.resume()
    assert {one.status for one in answers} == {201}
    judge(cluster, client)


def test_a_worker_that_stopped_for_a_while_catches_up(cluster: Cluster) -> None:
    stopped_round(cluster, Client(cluster, name="resumed"), cluster.workers[0], 1)


def replaced_round(cluster: Cluster, client: Client, worker: Part) -> None:
    """Nothing that was known of the one before is believed of its successor."""
    others = sum(one is not worker for one in cluster.workers)
    was = worker.flags[worker.flags.index("--bundle") + 1]
    for bundle in ({"one": "two", "two": "one"}[was], was):
        worker.kill()
        assert client.post().status == 201
        worker.flags[worker.flags.index("--bundle") + 1] = bundle
        worker.start()
        for router in cluster.routers:
            until(partial(bundle_of, router, worker), bundle)
            assert len(healthy(router)) == others + 1
        judge(cluster, client)
        in_one = sum(one.flags[one.flags.index("--bundle") + 1] == "one" for one in cluster.workers)
        for router in cluster.routers:
            answer = client.post(router, number=0)  # of bundle one alone
            assert answer.acked == in_one, (bundle, answer)


def bundle_of(router: Part, worker: Part) -> str | None:
    """As a router tells of it."""
    return {one["url"]: one["bundle"] for one in healthy(router)}.get(worker.address)


def test_a_worker_replaced_at_its_address_by_one_of_another_bundle_counts_for_that_one(cluster: Cluster) -> None:
    replaced_round(cluster, Client(cluster, name="replaced"), cluster.workers[1])


def test_a_worker_that_never_answers_is_nobody(tmp_path: Path) -> None:
    """A POST does not wait for it, and it is in no count; a worker that was there before any router is."""
    with open_cluster(tmp_path, routers=0, workers=("default",), started=False) as cluster, closing(mute()) as listener:
        (worker,) = cluster.workers
        worker.start()
        assert httpx.get(f"{worker.address}/healthz").status_code == 200
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
        router = cluster.router(dialled=[silent, worker.address])
        router.start()
        until(lambda: [one["url"] for one in healthy(router)], [worker.address])
        client = Client(cluster, name="mute")
        until(lambda: client.post(router).acked, 1)
        answer = client.post(router)
        assert (answer.status, answer.acked) == (201, 1)
        cluster.wait_whole()
        judge(cluster, client)


def mute() -> socket.socket:
    """The kernel accepts connections for it, and nobody ever reads from them."""
    return socket.create_server(("127.0.0.1", 0))


# -- many rounds


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_twenty_rounds_of_processes_that_fail(tmp_path: Path) -> None:
    with open_cluster(tmp_path, store="s3", workers=("one", "one", "two"), proxied=True) as cluster:
        for n in range(20):
            client = Client(cluster, name=f"round-{n}")
            chance = client.chance
            killed_round(cluster, client, chance.uniform(0, 0.2))
            killed_in_flight_round(cluster, Client(cluster, name=f"flying-{n}"), landed_first=chance.random() < 0.5)
            client = Client(cluster, name=f"stopped-{n}")
            paused_round(cluster, client, chance.choice([1, 5]), lands_meanwhile=chance.random() < 0.5)
            worker = chance.choice(cluster.workers)
            restarted_round(cluster, client, worker)
            stopped_round(cluster, client, chance.choice(cluster.workers), chance.uniform(0, 5))
            replaced_round(cluster, Client(cluster, name=f"replaced-{n}"), worker)
            storage.calm(cluster)
