"""NATS dies, flaps, stands still or is not there yet: POSTs are refused or kept, and nothing is lost or invented."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from tests.bus.natsserver import NatsServer
from tests.faults.client import Answer, Client
from tests.faults.cluster import Cluster, Part, StoreKind, add, open_cluster
from tests.faults.verdict import WITHIN_S, judge
from tests.processes import sie_process
from tests.test_cluster import MODELS, document, until

Fault: TypeAlias = Callable[[NatsServer, random.Random], None]


# What happens to NATS. Each ends with NATS being there again.


def dead_for_a_while(nats: NatsServer, chance: random.Random) -> None:
    """Long enough for everybody to notice."""
    nats.kill()
    time.sleep(chance.uniform(0.5, 2.0))
    nats.start()


def dead_for_a_moment(nats: NatsServer, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        nats.kill()
        nats.start()
        time.sleep(chance.uniform(0, 0.6))


def flapping(nats: NatsServer, chance: random.Random) -> None:
    """Down and up every 200 ms."""
    for _ in range(chance.randint(4, 8)):
        nats.kill()
        time.sleep(0.2 * chance.uniform(0.8, 1.2))
        nats.start()
        time.sleep(0.2 * chance.uniform(0.8, 1.2))


def silent_for_a_while(nats: NatsServer, chance: random.Random) -> None:
    """It accepts and never answers, for longer than a publish waits, and at times than pings do."""
    nats.pause()
    time.sleep(chance.uniform(1.0, 3.5))
    nats.resume()


def silent_then_dead(nats: NatsServer, chance: random.Random) -> None:
    nats.pause()
    time.sleep(chance.uniform(0.2, 2.5))
    nats.kill()
    time.sleep(chance.uniform(0, 1.0))
    nats.start()


FAULTS: tuple[Fault, ...] = (dead_for_a_while, dead_for_a_moment, flapping, silent_for_a_while, silent_then_dead)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def through(cluster: Cluster, client: Client, fault: Fault) -> None:
    """Posts go on all the while; afterwards everything is judged, and taken and confirmed again."""
    already = len(client.answers)
    with client.stream():
        time.sleep(client.chance.uniform(0, 0.4))
        fault(cluster.nats, client.chance)
        ended = time.monotonic()
    answers = client.answers[already:]
    print(fault.__name__, Counter((one.status, one.code) for one in answers))
    assert {one.code for one in answers if one.refused} <= {"nats_unavailable"}
    assert 0 not in {one.status for one in answers}
    judge(cluster, client, since=ended)
    confirmed(cluster, client, since=ended)


def confirmed(cluster: Cluster, client: Client, *, since: float) -> None:
    """Every router takes a change, and hears its workers confirm it, in time."""
    for router in cluster.routers:
        while not takes(answer := client.post(router)):
            assert time.monotonic() - since < WITHIN_S, answer
            time.sleep(0.05)


def takes(answer: Answer) -> bool:
    return answer.accepted and answer.acked > 0 and not answer.pending


def status_of_a_repeat(router: Part) -> int:
    """Of a POST of what is there already."""
    return add(router, "first/model").status_code


def readiness(part: Part) -> int:
    return httpx.get(f"{part.address}/readyz").status_code


def test_killed_before_a_post_it_is_refused_and_nowhere(cluster: Cluster) -> None:
    client = Client(cluster, name="before")
    cluster.nats.kill()
    for router in cluster.routers:
        until(partial(status_of_a_repeat, router), 503, 2)
    refused = [client.post(router) for router in cluster.routers]
    assert [(one.status, one.code) for one in refused] == [(503, "nats_unavailable")] * 2
    assert max(one.took_s for one in refused) < 1  # it is known beforehand, and not waited for
    cluster.nats.start()
    ended = time.monotonic()
    judge(cluster, client, since=ended)
    confirmed(cluster, client, since=ended)


def test_killed_after_a_post_what_was_accepted_stays(cluster: Cluster) -> None:
    client = Client(cluster, name="after")
    accepted = client.post()
    cluster.nats.kill()
    assert (accepted.status, accepted.acked) == (201, 2)
    judge(cluster, client)
    cluster.nats.start()
    ended = time.monotonic()
    judge(cluster, client, since=ended)
    confirmed(cluster, client, since=ended)


@pytest.mark.parametrize("fault", [dead_for_a_while, flapping, silent_for_a_while], ids=lambda one: one.__name__)
def test_killed_or_silent_while_posts_come_it_costs_time_and_nothing_else(cluster: Cluster, fault: Fault) -> None:
    through(cluster, Client(cluster, name=fault.__name__), fault)


def test_workers_that_start_with_nobody_there_serve_their_files_and_then_converge(tmp_path: Path) -> None:
    """SIE_CATCHUP_S is how long they wait: its default of 10 seconds is only shortened here."""
    with open_cluster(tmp_path, routers=1, started=False, environment={"SIE_CATCHUP_S": "1"}) as cluster:
        cluster.nats.kill()
        (router,) = cluster.routers
        for worker in cluster.workers:
            worker.start()
        assert readiness(cluster.workers[-1]) == 503
        for worker in cluster.workers:
            until(partial(readiness, worker), 200, 3)
        router.start()
        assert add(router, "first/model").json()["error"] == "nats_unavailable"
        cluster.nats.start()
        client = Client(cluster)
        ended = time.monotonic()
        confirmed(cluster, client, since=ended)
        judge(cluster, client)


def test_a_change_larger_than_nats_takes_is_accepted_and_confirmed_by_every_worker(tmp_path: Path) -> None:
    with open_cluster(tmp_path, nats_options="max_payload: 4096") as cluster:
        large = f"    adapter_options:\n      runtime:\n        instruction: {'x' * 10_000}\n"
        added = httpx.post(cluster.routers[0].address + MODELS, content=document("large/model") + large, timeout=30)
        assert added.status_code == 201
        body = added.json()
        assert (body["acked_workers"], body["worker_ack_pending"], body["warnings"]) == (2, False, [])
        judge(cluster, Client(cluster))
        for worker in cluster.workers:
            assert "large/model" in httpx.get(f"{worker.address}/v1/models").text


@pytest.mark.parametrize(
    ("asked", "given"),
    [('user: sie, password: "right-one"', "sie:wrong-one@"), ('token: "right-one"', "wrong-one@")],
    ids=["password", "token"],
)
def test_with_wrong_credentials_the_router_is_up_posts_are_refused_and_the_log_names_no_secret(
    asked: str, given: str, tmp_path: Path
) -> None:
    with NatsServer(f"authorization {{ {asked} }}") as nats:
        environment = {"SIE_NATS_URL": f"nats://{given}127.0.0.1:{nats.port}", "SIE_CONFIG_STORE_DIR": str(tmp_path)}
        with sie_process("router", environment=environment) as router:
            refused = httpx.post(router.address + MODELS, content=document("org/model"))
            assert (refused.status_code, refused.json()["error"]) == (503, "nats_unavailable")
            until(lambda: "Authorization" in "".join(router.output), True, 5)
            assert httpx.get(f"{router.address}/healthz").status_code == 200
            time.sleep(0.5)  # further tries
            told = "".join(router.output) + refused.text + httpx.get(f"{router.address}/metrics").text
            assert "wrong-one" not in told
            assert told.count("Authorization") <= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", ["local", "s3"])
def test_twenty_rounds_of_anything_that_can_happen_to_nats(tmp_path: Path, store: StoreKind) -> None:
    with open_cluster(tmp_path, store=store, routers=3, workers=("one", "one", "two", "two")) as cluster:
        client = Client(cluster)
        for number in range(20):
            fault = client.chance.choice(FAULTS)
            print(f"round {number}: {fault.__name__}")
            through(cluster, client, fault)
        judge(cluster, client)
