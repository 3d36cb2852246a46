"""A shared store that is slow, away, or says of a write what is not so: nothing is lost, nothing invented."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from sie.testing.proxy import Answer, CutAfter, CutBefore, Fault, Hold, LandLate
from tests.bucket_servers import BUCKET, KEY, KEY_ID, weed_server
from tests.faults import storage
from tests.faults.client import Answer as Given
from tests.faults.client import Client
from tests.faults.cluster import Cluster, Part, open_cluster
from tests.faults.verdict import judge, wait_level
from tests.processes import sie_process
from tests.test_cluster import MODELS, document, until

_PASSING: list[Fault] = [
    Answer(500, after_success=True),
    Answer(409, after_success=True),
    Answer(412, after_success=True),
    Answer(503),
    CutBefore(),
    CutAfter(),
    LandLate(),
]


def readyz(router: Part) -> httpx.Response:
    return httpx.get(f"{router.address}/readyz", timeout=10)


def ready(router: Part) -> bool:
    return readyz(router).status_code == 200


def post_everywhere(client: Client, cluster: Cluster) -> list[Given]:
    """One document through every router, all at once."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(client.post, cluster.routers))


def retried(client: Client, cluster: Cluster, answers: list[Given]) -> None:
    """The same again, through one router and then through another: there, each time."""
    for answer in answers:
        first, second = (client.post(router, number=answer.number) for router in cluster.routers)
        assert first.status in ({200} if answer.accepted else {200, 201}), (answer, first)
        assert second.status == 200, (answer, second)


def closed(client: Client, cluster: Cluster, answers: list[Given]) -> None:
    """The fault has ended: level within 2 s, then every retry is safe, and level again."""
    judge(cluster, client)
    retried(client, cluster, answers)
    judge(cluster, client)


# -- of a write it is said what is not so


def passing_round(cluster: Cluster, client: Client, faults: Sequence[Fault]) -> None:
    answers: list[Given] = []
    for fault in faults:
        with storage.entries(cluster, fault, times=1):
            answers.append(client.post())
        assert answers[-1].status == 201, (fault, answers[-1])
    storage.before(cluster).land_late()
    closed(client, cluster, answers)


def test_a_write_that_met_a_fault_once_is_found_or_made_and_answered_201(cluster: Cluster) -> None:
    passing_round(cluster, Client(cluster, name="passing"), _PASSING)


@pytest.mark.slow
def test_a_write_that_lands_after_its_number_went_to_another_changes_nothing(cluster: Cluster) -> None:
    late_round(cluster, Client(cluster, name="late"), before_the_other=False)


@pytest.mark.slow
def test_a_write_that_lands_after_it_was_called_unknown_is_there_once(cluster: Cluster) -> None:
    late_round(cluster, Client(cluster, name="landed"), before_the_other=True)


def late_round(cluster: Cluster, client: Client, *, before_the_other: bool) -> None:
    one, other = cluster.routers
    with storage.entries(cluster, Hold()):
        doubtful = client.post(one)
    assert (doubtful.status, doubtful.code, doubtful.unknown) == (503, "config_store_unavailable", True)
    if before_the_other:
        storage.calm(cluster)
        judge(cluster, client)
        assert client.post(other).status == 201
    else:
        assert client.post(other).status == 201
        storage.calm(cluster)
        judge(cluster, client)
    assert client.post(one, number=doubtful.number).status == (200 if before_the_other else 201)
    assert client.post(other, number=doubtful.number).status == 200
    judge(cluster, client)


# -- slow, down, locked


def away_round(cluster: Cluster, client: Client) -> None:
    with storage.down(cluster):
        answers = post_everywhere(client, cluster)
        assert {(one.status, one.code) for one in answers} == {(503, "config_store_unavailable")}
        assert not any(one.unknown for one in answers), "nothing can have been sent"
        until(lambda: any(map(ready, cluster.routers)), False)
    closed(client, cluster, answers)
    assert all(map(ready, cluster.routers))


def test_a_store_that_is_down_is_said_to_be_and_nothing_of_what_was_refused_is_anywhere(cluster: Cluster) -> None:
    away_round(cluster, Client(cluster, name="down"))


def slow_round(cluster: Cluster, client: Client, seconds: float) -> None:
    with storage.slow(cluster, seconds):
        answers = post_everywhere(client, cluster)
        for one in answers:
            assert one.accepted or (one.status, one.code) == (503, "config_store_unavailable"), one
    closed(client, cluster, answers)


@pytest.mark.slow
def test_a_store_that_is_slower_than_anybody_waits_costs_an_answer_and_nothing_else(cluster: Cluster) -> None:
    slow_round(cluster, Client(cluster, name="slow"), 2)


def test_a_store_that_is_slow_and_not_too_slow_is_waited_for(cluster: Cluster) -> None:
    client = Client(cluster, name="slower")
    with storage.slow(cluster, 0.2):
        answers = post_everywhere(client, cluster)
    assert {one.status for one in answers} == {201}, answers
    closed(client, cluster, answers)


def locked_round(cluster: Cluster, client: Client) -> None:
    """Wrong credentials, as the service tells of them."""
    before = client.post()
    wait_level(cluster)
    with storage.everything(cluster, storage.WRONG_CREDENTIALS):
        answers = post_everywhere(client, cluster)
        assert {(one.status, one.code, one.unknown) for one in answers} == {(503, "config_store_unavailable", False)}
        said_of_credentials(cluster, *cluster.routers)
        assert before.model in httpx.get(cluster.routers[0].address + MODELS).text, "what was known stays served"
    closed(client, cluster, answers)


def said_of_credentials(cluster: Cluster, *routers: Part) -> None:
    for router in routers:
        until(partial(ready, router), False)
        said = readyz(router).text
        assert cluster.environment["SIE_CONFIG_STORE_DIR"] in said
        assert "InvalidAccessKeyId" in said
        for query in ("", "?dry_run=true"):
            refused = httpx.post(f"{router.address}{MODELS}{query}", content=document("locked/out"), timeout=30)
            assert (refused.status_code, refused.json()["error"]) == (503, "config_store_unavailable")
            assert "outcome" not in refused.json()["detail"]
            assert KEY not in said + refused.text
        assert "sentence-transformers/all-MiniLM-L6-v2" in httpx.get(router.address + MODELS).text
        assert httpx.get(f"{router.address}/healthz").status_code == 200
        assert KEY not in router.output


def test_credentials_that_become_wrong_and_right_again(cluster: Cluster) -> None:
    locked_round(cluster, Client(cluster, name="locked"))


def test_a_router_that_starts_with_wrong_credentials_serves_its_files_and_the_rest_once_they_are_right(
    cluster: Cluster,
) -> None:
    client = Client(cluster, name="started-locked")
    known = client.post()
    router = cluster.routers[0]
    router.stop()
    try:
        with storage.everything(cluster, storage.WRONG_CREDENTIALS):
            router.start()
            said_of_credentials(cluster, router)
            assert known.model not in httpx.get(router.address + MODELS).text
    finally:
        if router.running is None:
            router.start()
    judge(cluster, client)
    assert ready(router)
    assert client.post(router).status == 201
    judge(cluster, client)


@pytest.mark.slow
def test_a_store_that_knows_the_key_and_not_the_secret(tmp_path: Path) -> None:
    """A real service refuses; nothing that it or we say of that shows what is secret."""
    with weed_server(tmp_path) as port:
        environment = {
            "SIE_CONFIG_STORE_DIR": f"s3://{BUCKET}/configs",
            "SIE_CONFIG_RESTORE": "true",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": "not the secret",
            "AWS_REGION": "us-east-1",
        }
        with sie_process("router", environment=environment) as router:
            said = httpx.get(f"{router.address}/readyz")
            refused = httpx.post(router.address + MODELS, content=document("locked/out"), timeout=30)
            assert (said.status_code, refused.status_code) == (503, 503)
            assert refused.json()["error"] == "config_store_unavailable"
            assert "check AWS_ACCESS_KEY_ID" in said.text
            assert "not the secret" not in said.text + refused.text + "".join(router.output)
            assert "sentence-transformers/all-MiniLM-L6-v2" in httpx.get(router.address + MODELS).text


# -- many rounds, and the time limits that are the default


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_twenty_rounds_of_a_store_that_fails(tmp_path: Path) -> None:
    with open_cluster(tmp_path, store="s3", workers=("one", "two"), proxied=True) as cluster:
        for n in range(20):
            client = Client(cluster, name=f"round-{n}")
            passing_round(cluster, client, client.chance.choices(_PASSING, k=8))
            late_round(cluster, Client(cluster, name=f"late-{n}"), before_the_other=client.chance.random() < 0.5)
            away_round(cluster, client)
            slow_round(cluster, client, client.chance.choice([0.5, 2, 5]))
            locked_round(cluster, client)
            storage.calm(cluster)
