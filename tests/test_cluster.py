"""A router, workers and NATS as separate processes, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bucket_servers import BUCKET, s3_server
from tests.bus.natsserver import NatsServer
from tests.processes import Served, sie_process

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
MODELS = "/v1/configs/models"


def document(sie_id: str, *profiles: str) -> str:
    more = "".join(f"  {profile}:\n    extends: default\n" for profile in profiles)
    return f"sie_id: {sie_id}\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n{more}"


def until(asked: Callable[[], Any], wanted: Any, within_s: float = 10) -> None:
    """Ask until the answer is as wanted."""
    deadline = time.monotonic() + within_s
    while (found := asked()) != wanted:
        assert time.monotonic() < deadline, f"{found!r}, not {wanted!r}"
        time.sleep(0.02)


class Cluster:
    """Processes on one NATS server; each ended by its id."""

    def __init__(self, nats: NatsServer, folder: Path, stack: ExitStack) -> None:
        self.nats = nats
        self._folder = folder
        self._stack = stack

    @property
    def environment(self) -> Mapping[str, str]:
        return {"SIE_NATS_URL": self.nats.url}

    def worker(self, *flags: str) -> Served:
        return self._stack.enter_context(sie_process("worker", *flags, environment=self.environment))

    def router(self, *workers: Served) -> Served:
        dialled = [flag for worker in workers for flag in ("--worker", worker.address)]
        store = ("--config-store-dir", str(self._folder), "--config-restore")
        router = self._stack.enter_context(sie_process("router", *store, *dialled, environment=self.environment))
        until(lambda: httpx.get(f"{router.address}/health").json()["cluster"]["worker_count"], len(workers))
        until(lambda: self.add(router, "first/model").status_code in {200, 201}, True)
        return router

    def add(self, router: Served, sie_id: str, *profiles: str) -> httpx.Response:
        return httpx.post(router.address + MODELS, content=document(sie_id, *profiles), timeout=30)


def states(router: Served) -> set[str]:
    return {one["config_state"] for one in httpx.get(f"{router.address}/health").json()["workers"]}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with NatsServer() as nats, ExitStack() as stack:
        yield Cluster(nats, tmp_path / "store", stack)


def test_a_posted_model_is_confirmed_by_every_worker_and_served_by_the_next_request(cluster: Cluster) -> None:
    router = cluster.router(cluster.worker(), cluster.worker(), cluster.worker())
    added = cluster.add(router, "demo/minilm")
    assert added.status_code == 201
    body = added.json()
    assert (body["acked_workers"], body["total_eligible"], body["pending_workers"]) == (3, 3, 0)
    assert (body["worker_ack_pending"], body["warnings"]) == (False, [])
    until(lambda: states(router), {"level"})
    asked = httpx.post(
        f"{router.address}/v1/encode/demo/minilm",
        json={"items": [{"text": "a cat"}]},
        headers={"Accept": "application/json", "Prefer": "wait=60"},
        timeout=90,
    )
    assert asked.status_code == 200
    assert len(asked.json()["items"][0]["dense"]["values"]) == 384
    assert asked.headers["X-SIE-Worker"]


def test_a_worker_that_starts_later_knows_everything_before_it_is_ready(cluster: Cluster) -> None:
    router = cluster.router(cluster.worker())
    for number in range(20):
        assert cluster.add(router, f"demo/model-{number}").status_code == 201
    late = cluster.worker()
    until(lambda: httpx.get(f"{late.address}/readyz").status_code, 200)
    names = [one["name"] for one in httpx.get(f"{late.address}/v1/models").json()["models"]]
    assert {f"demo/model-{number}" for number in range(20)} <= set(names)


def test_a_worker_with_files_of_its_own_is_shown_to_differ(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "extra.yaml").write_text(document("only/here"))
    router = cluster.router(cluster.worker("--models-dir", str(tmp_path / "own")))
    until(lambda: states(router), {"differs"})
    assert cluster.add(router, "demo/minilm").json()["acked_workers"] == 1  # what it was asked it has


@pytest.mark.slow
def test_a_worker_that_died_is_not_waited_for_and_one_that_returns_catches_up(cluster: Cluster) -> None:
    staying, dying = cluster.worker(), cluster.worker()
    router = cluster.router(staying, dying)
    port = dying.address.rpartition(":")[2]
    dying.kill()
    until(lambda: cluster.add(router, "demo/one").json()["total_eligible"], 1)
    again = cluster.worker("--port", port)
    until(lambda: httpx.get(f"{router.address}/health").json()["cluster"]["worker_count"], 2)
    confirmed = cluster.add(router, "demo/one").json()
    assert (confirmed["acked_workers"], confirmed["total_eligible"]) == (2, 2)
    assert again.stop() == 0


@pytest.mark.slow
def test_nats_that_goes_and_returns_costs_time_and_nothing_else(cluster: Cluster) -> None:
    router = cluster.router(cluster.worker(), cluster.worker())
    cluster.nats.kill()
    until(lambda: cluster.add(router, "first/model").status_code, 503)
    assert cluster.add(router, "demo/refused").json()["error"] == "nats_unavailable"
    health = httpx.get(f"{router.address}/health").json()
    assert health["cluster"]["worker_count"] == 2
    cluster.nats.start()
    until(lambda: cluster.add(router, "demo/after").status_code in {200, 201}, True)
    until(lambda: cluster.add(router, "demo/after").json()["acked_workers"], 2)
    assert "demo/refused" not in httpx.get(router.address + MODELS).text


def test_without_nats_and_a_shared_store_the_answer_does_not_wait_for_who_cannot_hear(tmp_path: Path) -> None:
    with (
        sie_process("worker") as worker,
        sie_process("router", "--worker", worker.address) as router,
    ):
        until(lambda: httpx.get(f"{router.address}/health").json()["cluster"]["worker_count"], 1)
        began = time.monotonic()
        added = httpx.post(router.address + MODELS, content=document("demo/unheard"))
        took_s = time.monotonic() - began
        body = added.json()
        assert (added.status_code, body["worker_ack_pending"], body["total_eligible"]) == (201, True, 1)
        assert [one.partition(":")[0] for one in body["warnings"]] == ["workers_not_told"]
        assert took_s < 2  # and not the documented 3 seconds


def test_a_shared_store_alone_brings_every_worker_up_to_date(tmp_path: Path) -> None:
    """No NATS at all: workers and routers look into the store now and then."""
    with s3_server(tmp_path) as port:
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "AWS_REGION": "us-east-1",
            "SIE_CONFIG_STORE_DIR": f"s3://{BUCKET}/configs",
            "SIE_CONFIG_RESTORE": "true",
            "SIE_CONFIG_RECONCILE_S": "0.3",
        }
        with (
            sie_process("worker", environment=environment) as worker,
            sie_process("router", "--worker", worker.address, environment=environment) as one,
            sie_process("router", "--worker", worker.address, environment=environment) as other,
        ):
            until(lambda: httpx.get(f"{one.address}/health").json()["cluster"]["worker_count"], 1)
            assert httpx.post(one.address + MODELS, content=document("demo/shared"), timeout=30).status_code == 201
            until(lambda: httpx.get(f"{other.address}{MODELS}/demo/shared").status_code, 200)
            confirmed = httpx.post(other.address + MODELS, content=document("demo/shared"), timeout=30).json()
            assert (confirmed["created_profiles"], confirmed["worker_ack_pending"]) == ([], False)
