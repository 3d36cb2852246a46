"""Stores that come and go under running processes, and routers that share none: joined by the bus alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.cluster import Cluster, Part, StoreKind, add, healthy, open_cluster
from tests.test_cluster import MODELS, document, until

_CONVERGED_S = 2.0
_MEMORY = ""


@contextmanager
def apart(folder: Path, *stores: str) -> Iterator[Cluster]:
    """Two workers, and one router for each store: a folder's name, or `_MEMORY`."""
    with open_cluster(folder, routers=0, started=False) as cluster:
        for store in stores:
            place = str(folder / store) if store else _MEMORY
            cluster.router(environment={"SIE_CONFIG_STORE_DIR": place})
        for worker in cluster.workers:
            worker.environment["SIE_CONFIG_STORE_DIR"] = _MEMORY
        cluster.start()
        cluster.wait_whole()
        yield cluster


def models(router: Part) -> dict[str, list[str]]:
    listed = httpx.get(router.address + MODELS, timeout=10).json()["models"]
    return {one["model_id"]: one["profiles"] for one in listed if one["source"] == "api"}


def served(worker: Part) -> set[str]:
    return {one["name"] for one in httpx.get(f"{worker.address}/v1/models", timeout=10).json()["models"]}


def digests(*routers: Part) -> set[str]:
    """What all workers, as all routers hear them, hash to."""
    return {one["config_digest"] for router in routers for one in healthy(router)}


def confirmed(answer: httpx.Response) -> tuple[int, int, int]:
    body: dict[str, Any] = answer.json()
    return answer.status_code, body["acked_workers"], body["total_eligible"]


@pytest.mark.parametrize(
    "stores", [(_MEMORY, _MEMORY), ("one", "two"), pytest.param((_MEMORY, "two"), marks=pytest.mark.slow)], ids=str
)
def test_routers_joined_by_the_bus_alone_know_each_others_models(tmp_path: Path, stores: tuple[str, str]) -> None:
    with apart(tmp_path, *stores) as cluster:
        first, second = cluster.routers
        assert confirmed(add(first, "demo/one")) == (201, 2, 2)
        until(lambda: "demo/one" in models(second), True, _CONVERGED_S)
        assert confirmed(add(second, "demo/two")) == (201, 2, 2)
        assert confirmed(add(second, "demo/one")) == (200, 2, 2)  # there already, in a store of which it only heard
        assert confirmed(add(second, "demo/one", "more")) == (201, 2, 2)
        until(lambda: models(first), models(second), _CONVERGED_S)
        assert models(first)["demo/one"] == ["default", "more"]
        until(lambda: len(digests(first, second)), 1, _CONVERGED_S)
        other = document("demo/one").replace("hf_id", "max_sequence_length: 7\nhf_id") + "  more:\n    extends: none\n"
        assert httpx.post(second.address + MODELS, content=other, timeout=10).status_code in {409, 422}


def test_what_an_in_memory_router_was_told_outlives_it_where_another_heard_of_it(tmp_path: Path) -> None:
    with apart(tmp_path, _MEMORY, _MEMORY) as cluster:
        first, second = cluster.routers
        add(first, "demo/one")
        until(lambda: "demo/one" in models(second), True, _CONVERGED_S)
        first.kill()
        assert confirmed(add(second, "demo/two")) == (201, 2, 2)
        first.start()
        until(lambda: models(first), models(second), _CONVERGED_S)
        assert set(models(first)) >= {"demo/one", "demo/two"}
        cluster.wait_whole()
        assert confirmed(add(first, "demo/three")) == (201, 2, 2)
        until(lambda: len(digests(first, second)), 1, _CONVERGED_S)


def test_an_in_memory_router_that_starts_anew_has_its_workers_forget_what_it_forgot(tmp_path: Path) -> None:
    with apart(tmp_path, _MEMORY) as cluster:
        router = cluster.routers[0]
        add(router, "demo/forgotten")
        before = digests(router)
        router.kill()
        router.start()
        until(lambda: len(healthy(router)), 2)
        until(lambda: [served(one) & {"demo/forgotten"} for one in cluster.workers], [set(), set()], _CONVERGED_S)
        assert digests(router).isdisjoint(before)
        assert confirmed(add(router, "demo/new")) == (201, 2, 2)


@pytest.mark.parametrize("kind", [pytest.param("local", marks=pytest.mark.slow), "s3"])
def test_a_store_wiped_and_begun_anew_is_taken_up_by_everybody(tmp_path: Path, kind: StoreKind) -> None:
    """By whom it is begun anew is said by starting a router: one that merely vanished may be a disk not mounted."""
    with open_cluster(tmp_path, store=kind, routers=2) as cluster:
        staying, restarted = cluster.routers
        assert add(staying, "demo/wiped").status_code == 201
        cluster.wipe()
        gone = add(staying, "demo/refused")
        assert (gone.status_code, gone.json()["error"]) == (503, "config_store_unavailable")
        assert "demo/wiped" in models(staying)  # what it serves goes on
        restarted.kill()
        restarted.start()
        until(lambda: set(models(staying)) & {"demo/wiped", "demo/refused"}, set(), _CONVERGED_S)
        cluster.wait_whole()
        assert confirmed(add(staying, "demo/new")) == (201, 2, 2)
        until(lambda: models(restarted), models(staying), _CONVERGED_S)
        until(lambda: len(digests(staying, restarted)), 1, _CONVERGED_S)
        assert [one.model_id for one in cluster.entries()] == ["first/model", "demo/new"]


def test_what_two_stores_say_differently_is_served_alike_everywhere_and_listed(tmp_path: Path) -> None:
    with apart(tmp_path, "one") as cluster:
        add(cluster.routers[0], "demo/both")
    with apart(tmp_path, "two") as cluster:
        other = (
            document("demo/both").replace("hf_id", "max_sequence_length: 64\nhf_id") + "  own:\n    extends: default\n"
        )
        other = other.replace("    adapter_path", "    max_batch_tokens: 99\n    adapter_path", 1)
        assert httpx.post(cluster.routers[0].address + MODELS, content=other, timeout=10).status_code == 201
    with apart(tmp_path, "one", "two") as cluster:
        first, second = cluster.routers

        def told(router: Part) -> Any:
            listed = httpx.get(router.address + MODELS, timeout=10).json()["models"]
            return next((one.get("conflict") for one in listed if one["model_id"] == "demo/both"), None)

        until(lambda: (told(first) is not None, told(first) == told(second)), (True, True), _CONVERGED_S)
        assert [one["path"] for one in told(first)] == ["profiles.default"]
        stores = told(first)[0]["stores"]
        assert stores == sorted(stores)
        shown = {httpx.get(f"{one.address}{MODELS}/demo/both", timeout=10).text for one in (first, second)}
        assert len(shown) == 1
        until(lambda: len(digests(first, second)), 1, _CONVERGED_S)
