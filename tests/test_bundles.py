"""Two bundles, their workers, a router and NATS as processes: what one POST brings to which, and who answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.bus.natsserver import NatsServer
from tests.pages import FIRST, PAGE_ID
from tests.processes import Served, sie_process
from tests.test_cluster import ADAPTER, MODEL, MODELS, until

SGLANG = "sie_server.adapters.sglang:SGLangEmbeddingAdapter"
FLASH = "sie_server.adapters.bert_flash:BertFlashAdapter"


def document(sie_id: str, **adapters: str) -> str:
    profiles = "".join(f"  {name}:\n    adapter_path: {adapter}\n" for name, adapter in adapters.items())
    return f"sie_id: {sie_id}\nhf_id: {MODEL}\nprofiles:\n{profiles}"


@contextmanager
def cluster(bundles: Sequence[str], environment: Mapping[str, str]) -> Iterator[Served]:
    """A router in front of one worker a bundle, which is called as its bundle is. The built-in bundle of a worker that
    is told none is `default`."""
    with NatsServer() as nats, ExitStack() as stack:
        common = {"SIE_NATS_URL": nats.url, **environment}
        workers = [
            stack.enter_context(
                sie_process(
                    "worker",
                    *([] if one == "default" else ["--bundle", one]),
                    environment={**common, "POD_NAME": f"the-{one}"},
                )
            )
            for one in bundles
        ]
        dialled = [flag for worker in workers for flag in ("--worker", worker.address)]
        router = stack.enter_context(sie_process("router", *dialled, environment=common))
        until(lambda: httpx.get(f"{router.address}/health").json()["cluster"]["worker_count"], len(workers))
        # NATS may be a moment later than the workers.
        until(lambda: post(router, document("first/model", default=ADAPTER)).status_code in {200, 201}, True)
        yield router


@pytest.fixture(scope="module")
def both() -> Iterator[Served]:
    """The built-in bundles, a worker of each."""
    with cluster(["default", "sglang"], {}) as router:
        yield router


def post(router: Served, text: str | bytes) -> httpx.Response:
    return httpx.post(router.address + MODELS, content=text, timeout=30)


def resolved(router: Served, model: str) -> tuple[int, object]:
    reply = httpx.post(f"{router.address}/v1/configs/resolve", json={"model": model})
    return reply.status_code, reply.json().get("resolved_bundle", reply.json().get("error"))


def answered_by(router: Served, model: str) -> tuple[int, str]:
    """Status and the answering worker's bundle; a request without items is a worker's to refuse, and loads nothing."""
    reply = httpx.post(f"{router.address}/v1/encode/{model}", json={"items": []}, timeout=30)
    return reply.status_code, reply.headers.get("X-SIE-Worker", "").removeprefix("the-").rpartition("-")[0]


def test_one_post_whose_profiles_live_in_two_bundles_is_confirmed_by_a_worker_of_each(both: Served) -> None:
    added = post(both, document("demo/both", default=ADAPTER, large=SGLANG))
    body = added.json()
    assert (added.status_code, body["created_profiles"]) == (201, ["default", "large"])
    assert body["routable_bundles_by_profile"] == {"default": ["default"], "large": ["sglang"]}
    assert (body["eligible_bundles_count"], body["eligible_bundles_with_workers_count"]) == (2, 2)
    assert (body["acked_workers"], body["total_eligible"], body["pending_workers"]) == (2, 2, 0)
    assert (body["worker_ack_pending"], body["warnings"]) == (False, [])
    standing = {one["bundle"]: one["config_revision"] for one in httpx.get(f"{both.address}/health").json()["workers"]}
    assert standing == dict.fromkeys(("default", "sglang"), body["config_revision"])


def test_a_profile_added_later_joins_the_other_bundle_with_its_whole_model(both: Served) -> None:
    assert post(both, document("demo/later", default=ADAPTER)).json()["eligible_bundles_count"] == 1
    joined = post(both, document("demo/later", default=ADAPTER) + "  large:\n    adapter_path: " + SGLANG).json()
    assert joined["routable_bundles_by_profile"] == {"large": ["sglang"]}
    assert (joined["acked_workers"], joined["total_eligible"], joined["worker_ack_pending"]) == (2, 2, False)
    child = post(both, "sie_id: demo/later\nprofiles:\n  child:\n    extends: large\n").json()
    assert child["routable_bundles_by_profile"] == {"child": ["sglang"]}


def test_a_request_reaches_a_worker_of_the_bundle_that_runs_its_profile(both: Served) -> None:
    assert post(both, document("demo/routed", default=ADAPTER, large=SGLANG)).status_code == 201
    assert answered_by(both, "demo/routed") == (400, "default")
    assert answered_by(both, "demo/routed:large") == (400, "sglang")
    assert answered_by(both, "sglang:/demo/routed:large") == (400, "sglang")
    assert answered_by(both, "SGLang:/Demo/Routed:large") == (400, "sglang")
    # The override names a bundle that does not run the profile: no worker is asked.
    assert answered_by(both, "sglang:/demo/routed") == (409, "")
    assert resolved(both, "demo/routed") == (200, "default")
    assert resolved(both, "demo/routed:large") == (200, "sglang")
    assert resolved(both, "default:/demo/routed:large") == (409, "bundle_conflict")


@pytest.mark.slow
def test_the_workers_of_both_bundles_compute(both: Served) -> None:
    assert post(both, document("demo/computed", default=ADAPTER, large=SGLANG)).status_code == 201
    values = []
    for name, bundle in (("demo/computed", "the-default"), ("demo/computed:large", "the-sglang")):
        reply = httpx.post(
            f"{both.address}/v1/encode/{name}",
            json={"items": [{"text": "a cat"}]},
            headers={"Accept": "application/json", "Prefer": "wait=90"},
            timeout=120,
        )
        assert reply.status_code == 200, reply.text
        assert reply.headers["X-SIE-Worker"].startswith(bundle)
        values.append(reply.json()["items"][0]["dense"]["values"])
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    assert len(values[0]) == 384


def test_both_are_listed_with_their_own_workers_and_shown(both: Served) -> None:
    listed = httpx.get(f"{both.address}/v1/configs/bundles").json()["bundles"]
    shown = [(one["bundle_id"], one["priority"], one["source"], one["connected_workers"]) for one in listed]
    assert shown == [("default", 10, "filesystem", 1), ("sglang", 20, "filesystem", 1)]
    text = httpx.get(f"{both.address}/v1/configs/bundles/sglang").text
    assert yaml.safe_load(text)["adapters"] == ["sie_server.adapters.sglang"]


def test_where_only_default_has_workers_its_models_are_confirmed_and_what_nobody_runs_is_said() -> None:
    """The documented first example needs no second bundle's workers; a profile of that bundle is pending, and told."""
    with cluster(["default"], {}) as router:
        page = post(router, FIRST).json()
        assert (page["eligible_bundles_count"], page["eligible_bundles_with_workers_count"]) == (1, 1)
        assert (page["acked_workers"], page["worker_ack_pending"], page["warnings"]) == (1, False, [])
        unrun = post(router, document("demo/unrun", default=SGLANG)).json()
        assert (unrun["worker_ack_pending"], unrun["total_eligible"]) == (True, 0)
        assert unrun["warnings"] == ["no_eligible_workers_connected"]
        asked = httpx.post(f"{router.address}/v1/encode/demo/unrun", json={"items": [{"text": "a"}]})
        assert (asked.status_code, asked.headers["X-SIE-Error-Code"]) == (503, "NO_WORKERS")
        again = post(router, FIRST).json()
        assert (again["model_id"], again["worker_ack_pending"]) == (PAGE_ID, False)


@pytest.mark.slow
def test_of_two_bundles_with_one_adapter_the_first_by_priority_serves_unless_the_other_is_asked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "spare.yaml").write_text("priority: 20\nadapters: [sie_server.adapters.bert_flash]\n")
    shared = "[sie_server.adapters.sentence_transformer, sie_server.adapters.bert_flash]"
    (tmp_path / "main.yaml").write_text(f"priority: 10\nadapters: {shared}\n")
    with cluster(["main", "spare"], {"SIE_BUNDLES_DIR": str(tmp_path)}) as router:
        added = post(router, document("demo/chosen", default=FLASH, single=ADAPTER)).json()
        assert added["routable_bundles_by_profile"] == {"default": ["main", "spare"], "single": ["main"]}
        assert (added["acked_workers"], added["worker_ack_pending"]) == (2, False)
        assert [answered_by(router, "demo/chosen") for _ in range(4)] == [(400, "main")] * 4
        assert [answered_by(router, "spare:/demo/chosen") for _ in range(4)] == [(400, "spare")] * 4
        assert resolved(router, "spare:/demo/chosen") == (200, "spare")
        assert resolved(router, "spare:/demo/chosen:single") == (409, "bundle_conflict")
