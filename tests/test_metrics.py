"""`/metrics` from outside: real processes, asked as a scraper asks, read as Prometheus reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.bus.natsserver import NatsServer, Stranger
from tests.pages import APPEND, FIRST
from tests.processes import Served, sie_process
from tests.test_cluster import ADAPTER, MODELS, until

LATER = "elsewhere.adapters:LaterAdapter"  # of a module that the bundle lists, and no worker here has
BUNDLES = {
    "default.yaml": "priority: 10\nadapters: [sie_server.adapters.sentence_transformer, elsewhere.adapters]\n",
    "flash.yaml": "priority: 20\nadapters: [sie_server.adapters.bert_flash]\n",
}
MACHINE = "X-SIE-Machine-Profile"


class Scrape:
    """What a process shows at one moment."""

    def __init__(self, served: Served, **headers: str) -> None:
        reply = httpx.get(f"{served.address}/metrics", headers=headers)
        assert reply.status_code == 200
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4"
        self.series: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(reply.text):
            assert family.documentation, family.name
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.series, f"{key} is there twice"
                self.series[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.series.get((name, frozenset(labels.items())))

    def by(self, name: str, label: str) -> Mapping[str, float]:
        """The values of the series of that name, by one of their labels."""
        return {dict(labels)[label]: value for (one, labels), value in self.series.items() if one == name}


class Cluster:
    """A router in front of a worker of each of two bundles, on one NATS."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "bundles").mkdir()
        for name, text in BUNDLES.items():
            (folder / "bundles" / name).write_text(text)
        self.nats = stack.enter_context(NatsServer())
        common = {"SIE_NATS_URL": self.nats.url, "SIE_BUNDLES_DIR": str(folder / "bundles")}

        def start(command: str, *flags: str) -> Served:
            return stack.enter_context(sie_process(command, *flags, environment=common))

        self.workers = {bundle: start("worker", "--bundle", bundle) for bundle in ("default", "flash")}
        dialled = [flag for one in self.workers.values() for flag in ("--worker", one.address)]
        self.router = start(
            "router", "--config-store-dir", str(folder / "store"), "--router-configured-gpu", "l4", *dialled
        )
        until(lambda: Scrape(self.router).by("sie_router_workers", "status"), {"healthy": 2, "unhealthy": 0})
        until(lambda: Scrape(self.router)("sie_bus_connected"), 1)

    def post(self, text: str | bytes, **params: str) -> httpx.Response:
        return httpx.post(self.router.address + MODELS, content=text, params=params, timeout=30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path_factory.mktemp("cluster"), stack)


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Cluster]:
    """One that is the test's own to break."""
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def risen(before: Scrape, now: Scrape, name: str, label: str) -> Mapping[str, float]:
    old = before.by(name, label)
    return {one: value - old.get(one, 0) for one, value in now.by(name, label).items() if value != old.get(one, 0)}


def document(sie_id: str, adapter: str) -> str:
    return f"sie_id: {sie_id}\nprofiles:\n  default:\n    adapter_path: {adapter}\n"


def test_a_router_shows_what_became_of_changes_and_who_has_them(cluster: Cluster) -> None:
    before = Scrape(cluster.router)
    assert cluster.post(FIRST).json()["worker_ack_pending"] is False
    flash = cluster.post(document("demo/flash", "sie_server.adapters.bert_flash:BertFlashAdapter")).json()
    assert cluster.post(FIRST).status_code == 200
    assert cluster.post(APPEND).status_code == 409
    assert cluster.post(document("demo/dry", ADAPTER), dry_run="true").status_code == 201
    assert cluster.post(document("demo/no", "no.such:Adapter")).status_code == 422
    nacked = cluster.post(document("demo/later", LATER)).json()
    assert len(nacked["nacked_workers"]) == 1
    touched = {"default": nacked["config_revision"], "flash": flash["config_revision"]}

    shown = Scrape(cluster.router)
    outcomes = {"created": 3, "unchanged": 1, "conflict": 1, "rehearsed": 1, "refused": 1}
    assert risen(before, shown, "sie_config_orders_total", "outcome") == outcomes
    assert risen(before, shown, "sie_config_answers_total", "acks") == {"confirmed": 3, "pending": 1}
    created = nacked["config_revision"]
    assert shown("sie_config_commit_seconds_count") == shown("sie_config_commit_seconds_bucket", le="+Inf") == created
    assert 0 < (shown("sie_config_commit_seconds_sum") or 0) < 30
    assert (shown("sie_bus_published_total"), shown("sie_bus_publish_failures_total")) == (created, 0)
    assert (shown("sie_config_revision"), shown("sie_config_orders_waiting")) == (created, 0)
    assert (shown("sie_config_store_trouble"), shown("sie_config_store_read")) == (0, 1)
    assert shown.by("sie_config_bundle_revision", "bundle") == touched

    assert shown.by("sie_router_bundle_workers", "bundle") == {"default": 1, "flash": 1}
    assert shown.by("sie_config_applied_revision", "bundle") == touched
    assert shown.by("sie_config_behind", "bundle") == {"default": 0, "flash": 0}
    assert shown.by("sie_config_nacks", "bundle") == {"default": 1, "flash": 0}
    urls = {one.address for one in cluster.workers.values()}
    assert shown.by("sie_link_connected", "worker") == dict.fromkeys(urls, 1)
    assert set(shown.by("sie_router_worker_queue_depth", "worker")) == urls
    assert all(count >= 1 for count in shown.by("sie_link_statuses_total", "worker").values())

    own = Scrape(cluster.workers["default"])
    assert own.by("sie_config_applied_revision", "bundle") == {"default": touched["default"]}
    assert own.by("sie_config_behind", "bundle") == {"default": 0}
    assert (own("sie_config_nacks"), own("sie_worker_ready"), own("sie_worker_truth_trouble")) == (1, 1, 0)
    assert (own("sie_bus_connected"), own("sie_bus_connections_total")) == (1, 1)
    assert (own("sie_bus_received_total") or 0) >= 2


def test_a_router_shows_what_it_passes_on_and_what_it_cannot(cluster: Cluster) -> None:
    assert cluster.post(document("demo/passed", ADAPTER)).status_code == 201
    url = f"{cluster.router.address}/v1/encode/demo/passed"
    for _ in range(3):
        assert httpx.post(url, json={"items": []}).status_code == 400  # by the worker: nothing to encode
    assert httpx.post(url, json={"items": []}, headers={MACHINE: "L4"}).status_code == 202
    assert httpx.post(url, json={"items": []}, headers={MACHINE: "h100"}).status_code == 400
    assert httpx.post(f"{cluster.router.address}/v1/encode/no/such", json={"items": []}).status_code == 404
    shown = Scrape(cluster.router)
    assert shown("sie_router_requests_total", endpoint="encode", status="400", machine_profile="") == 3
    assert sum(shown.by("sie_router_requests_total", "status").values()) == 3
    assert shown("sie_router_request_latency_seconds_count", endpoint="encode", machine_profile="") == 3
    assert shown.by("sie_router_provisioning_responses_total", "machine_profile") == {"l4": 1}
    assert shown("sie_router_pending_demand", machine_profile="l4", bundle="default") == 1
    assert (shown("sie_router_retries_total"), shown("sie_router_unreachable_total")) == (0, 0)


def test_what_goes_away_shows(doomed: Cluster) -> None:
    async def say_nonsense() -> None:
        async with Stranger(doomed.nats) as stranger:
            await stranger.say("sie.config.models._all", b"nonsense")
            await stranger.say("sie.config.models.default", json.dumps({"router_id": "somebody"}).encode())

    trio.run(say_nonsense)
    until(lambda: sum(Scrape(doomed.router).by("sie_bus_ignored_total", "reason").values()), 1)
    until(lambda: sum(Scrape(doomed.workers["default"]).by("sie_bus_ignored_total", "reason").values()), 1)
    doomed.workers["flash"].kill()
    until(lambda: Scrape(doomed.router).by("sie_router_bundle_workers", "bundle"), {"default": 1, "flash": 0})
    gone = doomed.workers["flash"].address
    until(lambda: Scrape(doomed.router)("sie_link_connected", worker=gone), 0)
    until(lambda: (Scrape(doomed.router)("sie_link_dials_total", worker=gone) or 0) > 2, True)
    doomed.nats.kill()
    left = (doomed.router, doomed.workers["default"])
    until(lambda: [Scrape(one)("sie_bus_connected") for one in left], [0, 0])
    assert Scrape(doomed.router).by("sie_router_workers", "status") == {"healthy": 1, "unhealthy": 0}


def test_a_store_that_cannot_be_used_shows(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with sie_process("router", "--config-store-dir", str(tmp_path / "file" / "store")) as router:
        assert (Scrape(router)("sie_config_store_trouble"), Scrape(router)("sie_config_store_read")) == (1, 0)
        assert httpx.post(router.address + MODELS, content=FIRST).status_code == 503
        assert Scrape(router).by("sie_config_orders_total", "outcome") == {"unavailable": 1}


def test_an_engine_shows_its_fleet_and_its_watchers(running: Served) -> None:
    before = Scrape(running)
    assert before.by("sie_router_bundle_workers", "bundle") == {"default": 1, "sglang": 1}
    assert before("sie_bus_connected") is None  # it is on none
    assert before("sie_queue_depth") == 0
    watchers = before("sie_watch_watchers") or 0
    with httpx.stream("GET", f"{running.address}/v1/configs/watch"):
        until(lambda: Scrape(running)("sie_watch_watchers"), watchers + 1)
    until(lambda: Scrape(running)("sie_watch_watchers"), watchers)


def test_with_health_closed_numbers_ask_for_a_token() -> None:
    environment = {"SIE_AUTH_TOKEN": "hush", "SIE_CLOSE_HEALTH": "true"}
    with sie_process("router", environment=environment) as router:
        assert httpx.get(f"{router.address}/metrics").status_code == 401
        assert Scrape(router, Authorization="Bearer hush")("sie_config_orders_waiting") == 0
