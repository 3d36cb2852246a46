"""This project's router, and workers of SIE v0.1.10 behind it: real processes, real NATS, the old release's wire."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import msgpack
import pytest
import yaml

from tests.legacy.made import FILE, Mixed, bare, bearer, encode, full, post, workers_of
from tests.legacy.old_hash import worker_hash
from tests.legacy.old_model import stub
from tests.legacy.old_worker import OldWorker
from tests.processes import Served
from tests.test_cluster import MODELS, until


def old_worker(mixed: Mixed, stack: ExitStack, name: str = "old-1", **said: Any) -> OldWorker:
    return stack.enter_context(OldWorker(mixed.nats.url, name=name, files=[FILE], **said))


def counts(answer: httpx.Response) -> tuple[int, int, int, bool]:
    body = answer.json()
    return body["acked_workers"], body["total_eligible"], body["pending_workers"], body["worker_ack_pending"]


def test_old_workers_confirm_by_their_hash_and_serve_the_next_request(mixed: Mixed, stack: ExitStack) -> None:
    """One says all that its release says, the other as little as its routers take."""
    old = old_worker(mixed, stack, machine_profile="l4")
    terse = old_worker(mixed, stack, "terse", minimal=True)
    router = mixed.router(old.address, terse.address)
    began = time.monotonic()
    added = post(router, full("demo/minilm"))
    took_s = time.monotonic() - began
    assert (added.status_code, added.json()["worker_ack_pending"], added.json()["warnings"]) == (201, False, [])
    assert added.json()["total_eligible"] == 2
    assert took_s < 2.5  # their next status, and not the documented 3 seconds
    asked = encode(router.address, "demo/minilm", X_SIE_MACHINE_PROFILE="l4")
    assert (asked.status_code, asked.headers["X-SIE-Worker"]) == (200, "old-1")
    until(lambda: counts(post(router, full("demo/minilm"))), (2, 2, 0, False))

    said = old.heard[-1]
    assert {name: type(said[name]) for name in NOTIFICATION} == NOTIFICATION
    assert said["model_id"] == "demo/minilm"
    assert said["profiles_added"] == ["default"]
    assert said["epoch"] == added.json()["config_revision"]
    assert said["router_id"] == added.json()["router_id"]
    assert yaml.safe_load(said["model_config"]) == yaml.safe_load(full("demo/minilm"))
    assert said["bundle_config_hash"] == old.hash == terse.hash == worker_hash(old.models)
    assert "affected_bundles" not in said
    assert set(said) > set(NOTIFICATION)  # there are additions, which they did not look at

    until(lambda: "demo/minilm" in by_name(router)["old-1"]["loaded_models"], True)
    seen, least = by_name(router)["old-1"], by_name(router)["terse"]
    assert (seen["url"], seen["bundle"], seen["gpu"], seen["healthy"]) == (old.address, "default", "l4", True)
    assert (seen["bundle_config_hash"], seen["gpu_count"], seen["queue_depth"]) == (old.hash, 1, 0)
    assert (seen["memory_used_bytes"], seen["memory_total_bytes"]) == (3 * 2**30, 24 * 2**30)
    assert (least["url"], least["bundle"], least["gpu"], least["healthy"]) == (terse.address, "default", "", True)
    assert (least["bundle_config_hash"], least["gpu_count"], least["queue_depth"]) == (old.hash, 1, 0)
    assert (least["memory_used_bytes"], least["memory_total_bytes"]) == (0, 0)


def by_name(router: Served) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in workers_of(router)}


NOTIFICATION = {
    "model_id": str,
    "profiles_added": list,
    "epoch": int,
    "router_id": str,
    "model_config": str,
    "bundle_config_hash": str,
}


def test_what_an_old_worker_answers_arrives_as_it_was(mixed: Mixed, stack: ExitStack) -> None:
    old = old_worker(mixed, stack, machine_profile="l4")
    router = mixed.router(old.address)
    model = "shipped/minilm"
    packed = httpx.post(
        f"{router.address}/v1/encode/default:/{model}?trace=1",
        content=msgpack.packb({"items": [{"text": "a", "id": "one"}]}),
        headers={"Content-Type": "application/msgpack", "X-SIE-SDK-Version": "0.1.10", "X-SIE-MACHINE-PROFILE": "L4"},
    )
    assert (packed.status_code, packed.headers["Content-Type"]) == (200, "application/msgpack")
    assert packed.headers["X-SIE-Worker"] == "old-1"
    for name in ("X-Queue-Time", "X-Tokenization-Time", "X-Inference-Time", "X-Total-Time"):
        assert packed.headers[name] == "0.25"
    (item,) = msgpack.unpackb(packed.content)["items"]
    assert (item["id"], item["dense"]["values"][b"type"], item["dense"]["values"][b"shape"]) == ("one", "<f4", [4])
    asked = old.inferences[-1]
    assert (asked.path, asked.query) == (f"/v1/encode/{model}", "trace=1")
    assert asked.headers["X-SIE-SDK-Version"] == "0.1.10"
    assert asked.headers["X-SIE-MACHINE-PROFILE"] == "l4"  # the worker's own name, which is all it takes
    plain = encode(router.address, model, Accept="application/json")
    assert plain.json()["items"][0]["dense"]["values"] == [1.0, 2.0, 3.0, 4.0]
    scored = httpx.post(f"{router.address}/v1/score/{model}", json={"query": {"text": "a"}, "items": [{"text": "b"}]})
    assert (scored.status_code, scored.json()["detail"]["code"]) == (400, "INVALID_INPUT")
    embedded = httpx.post(f"{router.address}/v1/embeddings", json={"model": model, "input": "a"})
    assert embedded.json()["data"][0]["embedding"] == [1.0, 2.0, 3.0, 4.0]
    old.loading.add(model)
    loading = encode(router.address, model)
    assert (loading.status_code, loading.headers["Retry-After"]) == (503, "5")
    assert loading.json()["detail"]["code"] == "MODEL_LOADING"
    assert encode(router.address, model, X_SIE_MACHINE_PROFILE="a100").status_code == 202


def test_of_two_old_workers_the_slow_one_is_not_waited_for_and_gets_no_traffic_yet(
    mixed: Mixed, stack: ExitStack
) -> None:
    quick, slow = old_worker(mixed, stack, "quick"), old_worker(mixed, stack, "slow")
    router = mixed.router(quick.address, slow.address)
    slow.apply_delay_s = 1.2
    added = post(router, full("demo/minilm"))
    assert (added.status_code, counts(added), added.json()["warnings"]) == (201, (1, 2, 1, False), [])
    served = {encode(router.address, "demo/minilm").headers["X-SIE-Worker"] for _ in range(6)}
    assert (served, slow.inferences) == ({"quick"}, [])
    until(lambda: counts(post(router, full("demo/minilm"))), (2, 2, 0, False))
    slow.loaded.append("demo/minilm")  # as resident as on the other, or residence would decide
    until(lambda: encode(router.address, "demo/minilm").headers["X-SIE-Worker"], "slow")


def test_an_old_worker_that_missed_a_message_is_gated_for_three_seconds_and_recovers_with_the_next(
    mixed: Mixed, stack: ExitStack
) -> None:
    old = old_worker(mixed, stack)
    router = mixed.router(old.address)
    assert counts(post(router, full("demo/heard"))) == (1, 1, 0, False)
    old.deaf = 1
    with ThreadPoolExecutor(1) as posting:
        began = time.monotonic()
        waiting = posting.submit(post, router, full("demo/missed"))
        until(lambda: httpx.get(f"{router.address}{MODELS}/demo/missed").status_code, 200)
        while time.monotonic() - began < 2.5:
            gated = encode(router.address, "demo/missed")
            assert (gated.status_code, gated.json()["detail"]["code"]) == (503, "MODEL_LOADING")
            assert float(gated.headers["Retry-After"]) >= 1
            assert encode(router.address, "demo/heard").status_code == 200  # what it has is served all the while
            time.sleep(0.2)
        assert [one for one in old.inferences if one.path.endswith("missed")] == []
        added = waiting.result()
        took_s = time.monotonic() - began
    assert (added.status_code, counts(added)) == (201, (0, 1, 1, True))
    assert [one.partition(":")[0] for one in added.json()["warnings"]] == ["Serving readiness not met within timeout"]
    assert 2.5 < took_s < 6
    until(lambda: asked_for(router.address, old, "demo/missed"), True, 3)  # the gate was a time, and it is over
    refused = encode(router.address, "demo/missed")
    assert (refused.status_code, refused.json()["detail"]["code"]) == (503, "MODEL_LOADING")
    assert int(refused.headers["Retry-After"]) >= 1
    # Any later change to the model carries all of it.
    appended = post(router, full("demo/missed", "medical"))
    assert (appended.json()["created_profiles"], counts(appended)) == (["medical"], (1, 1, 0, False))
    assert encode(router.address, "demo/missed").status_code == 200
    assert counts(post(router, full("demo/missed"))) == (1, 1, 0, False)


def asked_for(address: str, old: OldWorker, model: str) -> bool:
    encode(address, model)
    return any(one.path.endswith(model) for one in old.inferences)


def test_an_old_worker_that_lacks_a_model_never_answers_for_one_that_has_it(mixed: Mixed, stack: ExitStack) -> None:
    has, lacks = old_worker(mixed, stack, "has"), old_worker(mixed, stack, "lacks")
    router = mixed.router(has.address, lacks.address, SIE_CONFIG_ACK_PATIENCE_S="0.8")
    lacks.deaf = 1
    assert counts(post(router, full("demo/minilm"))) == (1, 2, 1, False)
    has.loaded.append("demo/minilm")
    lacks.loaded.append("demo/minilm")  # it says so, and it is not true: both look equally good
    until(lambda: asked_for(router.address, lacks, "demo/minilm"), True)
    for _ in range(8):
        asked = encode(router.address, "demo/minilm")
        assert (asked.status_code, asked.headers["X-SIE-Worker"]) == (200, "has")


def test_old_and_new_workers_of_one_bundle_confirm_and_serve_together(mixed: Mixed, stack: ExitStack) -> None:
    old, new = old_worker(mixed, stack), mixed.worker()
    router = mixed.router(old.address, new.address)
    added = post(router, full("demo/both", "medical"))
    until(lambda: counts(post(router, full("demo/both"))), (2, 2, 0, False))
    assert (added.status_code, added.json()["total_eligible"], added.json()["worker_ack_pending"]) == (201, 2, False)
    until(lambda: {one["bundle_config_hash"] for one in workers_of(router)}, {old.hash})
    old.deaf = 1  # now it lags, and the other confirms for the bundle
    later = post(router, full("demo/later"))
    assert counts(later) == (1, 2, 1, False)
    assert encode(router.address, "demo/later").headers["X-SIE-Worker"] != "old-1"


def test_an_old_worker_on_its_way_out_is_passed_by(mixed: Mixed, stack: ExitStack) -> None:
    """It says ready to the last, and answers every request with 503 and a body of its own form."""
    leaving, staying = old_worker(mixed, stack, "leaving"), old_worker(mixed, stack, "staying")
    router = mixed.router(leaving.address, staying.address)
    for one in (leaving, staying):
        one.loaded.append("shipped/minilm")
    until(lambda: encode(router.address, "shipped/minilm").headers["X-SIE-Worker"], "leaving")
    leaving.draining = True
    answers = [encode(router.address, "shipped/minilm") for _ in range(6)]
    assert {(one.status_code, one.headers["X-SIE-Worker"]) for one in answers} == {(200, "staying")}
    assert by_name(router)["leaving"]["healthy"]  # as far as its status goes
    staying.draining = True
    last = encode(router.address, "shipped/minilm")
    assert (last.status_code, int(last.headers["Retry-After"])) == (503, 5)
    leaving.close()
    until(lambda: [one["name"] for one in workers_of(router) if one["healthy"]], ["staying"])


def test_an_old_worker_that_breaks_off_or_is_replaced_is_dialled_again_at_once(mixed: Mixed, stack: ExitStack) -> None:
    old = old_worker(mixed, stack)
    router = mixed.router(old.address)
    old.drop_routers()
    until(lambda: len(old.dials) >= 2, True, 4)
    assert counts(post(router, full("demo/one"))) == (1, 1, 0, False)
    port = old.port
    old.close()
    until(lambda: [one["healthy"] for one in workers_of(router)], [])
    none = post(router, full("demo/two")).json()
    assert (none["warnings"], none["worker_ack_pending"]) == (["no_eligible_workers_connected"], True)
    again = old_worker(mixed, stack, "again", port=port)  # it knows its image's files again, and nothing else
    until(lambda: [one["name"] for one in workers_of(router)], ["again"])
    assert encode(router.address, "shipped/minilm").status_code == 200
    gated = encode(router.address, "demo/one")
    assert (gated.status_code, gated.json()["detail"]["code"]) == (503, "MODEL_LOADING")
    assert again.hash == worker_hash({"shipped/minilm": yaml.safe_load(FILE)})


@pytest.mark.slow
def test_a_model_of_more_changes_than_hashes_are_kept_is_confirmed_to_its_last(mixed: Mixed, stack: ExitStack) -> None:
    old, late = old_worker(mixed, stack, "old"), old_worker(mixed, stack, "late")
    router = mixed.router(old.address, late.address)
    assert post(router, full("demo/many")).status_code == 201
    late.deaf = 1000
    with ThreadPoolExecutor(40) as clients:
        answers = list(clients.map(lambda n: post(router, full("demo/many", f"p{n}")), range(80)))
    assert {one.status_code for one in answers} == {201}
    assert not any(one.json()["worker_ack_pending"] for one in answers)
    assert len(old.models["demo/many"]["profiles"]) == 81
    assert (old.dropped, old.failed) == ([], [])
    assert counts(post(router, full("demo/many", "p79"))) == (1, 2, 1, False)
    late.deaf = 0
    assert post(router, full("demo/many", "last")).status_code == 201
    until(lambda: counts(post(router, full("demo/many", "last"))), (2, 2, 0, False))


@pytest.mark.slow
def test_a_documents_tasks_decide_what_an_old_worker_can_do_with_it(mixed: Mixed, stack: ExitStack) -> None:
    """The page's first example has none: that release keeps a stub of it, with another hash, and cannot serve it."""
    old = old_worker(mixed, stack)
    router = mixed.router(old.address, SIE_CONFIG_ACK_PATIENCE_S="0.8")
    added = post(router, bare("page/e5"))
    assert (added.status_code, counts(added)) == (201, (0, 1, 1, True))
    assert added.json()["warnings"][0].startswith("Serving readiness not met within timeout")
    assert old.models["page/e5"] == stub(yaml.safe_load(bare("page/e5")))
    until(lambda: encode(router.address, "page/e5").status_code, 400)  # the worker's own word, once the gate is over
    assert encode(router.address, "page/e5").json()["detail"]["code"] == "INVALID_INPUT"
    # The rest of the bundle goes on as before; only its acks are lost, for the hash is of all of it.
    after = post(router, full("demo/after"))
    assert counts(after) == (0, 1, 1, True)
    until(lambda: encode(router.address, "demo/after").status_code, 200)


def test_routers_show_old_workers_their_own_token_and_never_their_clients(mixed: Mixed, stack: ExitStack) -> None:
    old = old_worker(mixed, stack)
    router = mixed.router(old.address, SIE_AUTH_TOKEN="reads", SIE_ADMIN_TOKEN="writes")
    assert post(router, full("demo/minilm")).status_code == 401
    assert post(router, full("demo/minilm"), bearer("reads")).status_code == 403
    added = post(router, full("demo/minilm"), bearer("writes"))
    assert (added.status_code, counts(added)) == (201, (1, 1, 0, False))
    assert encode(router.address, "demo/minilm").status_code == 401
    assert old.inferences == []
    assert encode(router.address, "demo/minilm", Authorization="Bearer writes").status_code == 200
    assert [one.headers["Authorization"] for one in old.inferences] == ["Bearer reads"]
    assert {one["Authorization"] for one in old.dials} == {"Bearer reads"}


def test_an_old_worker_not_ready_gets_nothing_until_it_is(mixed: Mixed, stack: ExitStack) -> None:
    old = old_worker(mixed, stack, "")
    old.ready = False
    router = mixed.router(old.address, connected=0)
    assert encode(router.address, "shipped/minilm").status_code == 503
    old.ready = True
    until(lambda: encode(router.address, "shipped/minilm").status_code, 200)
    named = encode(router.address, "shipped/minilm").headers["X-SIE-Worker"]
    assert named == old.address  # it has no name: neither HOSTNAME nor POD_NAME


@pytest.mark.slow
def test_a_status_of_hundreds_of_kilobytes_keeps_its_link(mixed: Mixed, stack: ExitStack) -> None:
    """That release's status lists every model. What it would not survive itself is above a megabyte."""
    old = old_worker(mixed, stack)
    old.models.update({f"many/model-{n}": yaml.safe_load(full(f"many/model-{n}")) for n in range(1500)})
    size = len(json.dumps(old.message()))
    assert 300_000 < size < 2**20
    router = mixed.router(old.address)
    for _ in range(3):
        time.sleep(0.3)
        assert encode(router.address, "shipped/minilm").status_code == 200
    assert len(old.dials) == 1


def test_a_change_that_no_hash_shows_is_confirmed_by_who_shows_the_hash(mixed: Mixed, stack: ExitStack) -> None:
    """A model's own fields are not hashed: what an old worker shows after them is what it showed before."""
    old = old_worker(mixed, stack)
    router = mixed.router(old.address, SIE_CONFIG_ACK_PATIENCE_S="0.8")
    assert counts(post(router, full("demo/minilm"))) == (1, 1, 0, False)
    added = post(router, full("demo/minilm") + "max_sequence_length: 128\n")
    assert (added.status_code, counts(added)) == (200, (1, 1, 0, False))
    assert old.models["demo/minilm"]["max_sequence_length"] == 128
    assert encode(router.address, "demo/minilm").status_code == 200
