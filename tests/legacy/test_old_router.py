"""This project's worker and router, and a router of SIE v0.1.10 beside them: real processes, real NATS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import msgpack
import msgpack_numpy
import pytest
import yaml

from tests.bus.natsserver import NatsServer
from tests.legacy.made import FILE, MODULE, Mixed, bearer, encode, full, mixed_cluster, post, workers_of
from tests.legacy.old_hash import worker_hash
from tests.legacy.old_router import OldRouter
from tests.legacy.old_status import FIELDS, MODEL, SERVER, STATES, misfits
from tests.legacy.old_worker import OldWorker
from tests.processes import Served
from tests.test_cluster import MODELS, until

BUNDLES = {"default": [MODULE, "sie_server.adapters.bert_flash"]}
SUBJECT = "sie.config.models.default"
ALONE = {"SIE_CATCHUP_S": "0.2"}  # no router of this project is there to tell it the truth


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, OldRouter]]:
    """One worker of this project and one old router, for all tests that only add models of their own names."""
    with NatsServer() as nats, mixed_cluster(nats, tmp_path_factory.mktemp("beside")) as mixed, ExitStack() as stack:
        more = {"SIE_MACHINE_PROFILE": "l4-spot", "SIE_PRELOAD": "shipped/minilm", **ALONE}
        worker = mixed.worker(**more)
        router = old_router(mixed, stack, worker, configured_gpus=["l4-spot"])
        yield worker, router


def old_router(mixed: Mixed, stack: ExitStack, *workers: Served | OldWorker, **said: Any) -> OldRouter:
    """Returns once all its workers are healthy for it."""
    given = {"bundles": BUNDLES, "files": [FILE], "redial_s": 0.2, **said}
    router = stack.enter_context(OldRouter(mixed.nats.url, workers=[one.address for one in workers], **given))
    until(lambda: [one.healthy for one in router.linked.values()], [True] * len(workers))
    return router


def acked(body: dict[str, Any]) -> tuple[int, int, list[str]]:
    return body["acked_workers"], body["total_eligible"], body["warnings"]


def names(worker: Served) -> set[str]:
    return {one["name"] for one in httpx.get(f"{worker.address}/v1/models").json()["models"]}


def profiles(worker: Served, model: str) -> set[str]:
    return set(httpx.get(f"{worker.address}/v1/models/{model}").json()["profiles"])


def announcement(router: OldRouter, model: str, text: str, **said: Any) -> dict[str, Any]:
    common = {"model_id": model, "profiles_added": ["default"], "epoch": 0, "router_id": router.router_id}
    return {**common, "model_config": text, "bundle_config_hash": "", **said}


# -- this project's worker


def test_an_old_routers_post_is_applied_by_our_worker_and_confirmed_by_its_hash(
    beside: tuple[Served, OldRouter],
) -> None:
    worker, router = beside
    for number in range(3):
        status, body = router.add_model(full(f"acked/model-{number}"))
        assert (status, acked(body)) == (201, (1, 1, []))
    assert {f"acked/model-{number}" for number in range(3)} <= names(worker)
    (linked,) = router.linked.values()
    assert linked.heard is not None
    assert linked.heard.bundle_config_hash == router.hash() == worker_hash(router.models)
    status, body = router.add_model(full("acked/model-0", "medical"))
    assert (status, body["created_profiles"], acked(body)) == (201, ["medical"], (1, 1, []))
    assert profiles(worker, "acked/model-0") == {"default", "medical"}


def test_an_old_proxy_passes_on_what_our_worker_refuses(beside: tuple[Served, OldRouter]) -> None:
    worker, router = beside
    router.models["unheard/model"] = yaml.safe_load(full("unheard/model"))
    missing = encode(router.address, "unheard/model")
    assert (missing.status_code, missing.json()["detail"]["code"]) == (404, "MODEL_NOT_FOUND")
    wrong = encode(worker.address, "shipped/minilm", X_SIE_MACHINE_PROFILE="a100")
    detail = wrong.json()["detail"]
    assert (wrong.status_code, detail["code"]) == (400, "INVALID_INPUT")
    assert (detail["requested_profile"], detail["worker_identity"]) == ("a100", "l4-spot")
    for said in (wrong.json(), missing.json()):
        assert set(said) == {"detail"}  # its SDK stops at a string under "error"
        assert isinstance(said["detail"]["message"], str)
    empty = httpx.post(f"{router.address}/v1/encode/shipped/minilm", json={"items": []})
    assert (empty.status_code, empty.json()["detail"]["code"]) == (400, "INVALID_INPUT")
    assert httpx.get(f"{worker.address}/health").status_code == 404  # what tells its SDK a worker from a router


def test_each_message_of_a_router_without_a_store_counts(beside: tuple[Served, OldRouter]) -> None:
    """They all carry epoch 0, at which that release's own workers drop all but a model's first."""
    worker, router = beside
    for profile in ("one", "two", "three"):
        router.say(SUBJECT, announcement(router, "epoch/zero", full("epoch/zero", profile)))
    until(lambda: "epoch/zero" in names(worker) and profiles(worker, "epoch/zero"), {"default", "one", "two", "three"})


def test_a_message_that_lacks_a_profile_takes_none_away_and_one_that_differs_changes_none(
    beside: tuple[Served, OldRouter],
) -> None:
    worker, router = beside
    router.say(SUBJECT, announcement(router, "kept/model", full("kept/model", "one"), epoch=9))
    router.say(SUBJECT, announcement(router, "kept/model", full("kept/model"), epoch=10))
    other = full("kept/model", "two").replace("8192", "4096")
    router.say(SUBJECT, announcement(router, "kept/model", other, epoch=11))
    router.say(SUBJECT, announcement(router, "kept/last", full("kept/last")))
    until(lambda: "kept/last" in names(worker), True)
    assert profiles(worker, "kept/model") == {"default", "one"}
    # A shipped model, announced with nothing but what is new, goes on serving as it did.
    appended = "sie_id: shipped/minilm\nprofiles:\n  legal:\n    extends: default\n"
    router.say(SUBJECT, announcement(router, "shipped/minilm", appended, epoch=12))
    until(lambda: profiles(worker, "shipped/minilm"), {"default", "legal"})
    shown = httpx.get(f"{worker.address}/v1/models/shipped/minilm").json()
    assert (shown["outputs"], shown["dims"]) == (["dense"], {"dense": 384})
    # The stand-in knows of it as well, or their hashes would part for the tests that follow.
    router.models["shipped/minilm"]["profiles"]["legal"] = {"extends": "default"}
    for name in ("kept/model", "kept/last", "epoch/zero"):
        router.models.pop(name, None)


POISON = {
    "keys that are no text": "{1: 2}",
    "bytes": "!!binary aGk=",
    "a set": "!!set {a, b}",
    "a number beyond 64 bits": "123456789012345678901234567890",
}


@pytest.mark.parametrize("value", POISON.values(), ids=POISON)
def test_what_no_json_can_hold_is_refused_and_the_next_is_heard(beside: tuple[Served, OldRouter], value: str) -> None:
    worker, router = beside
    options = f"    adapter_options:\n      runtime:\n        odd: {value}\n"
    number = list(POISON.values()).index(value)
    before = names(worker)
    router.say(SUBJECT, announcement(router, f"poison/{number}", full(f"poison/{number}") + options))
    router.say(SUBJECT, announcement(router, f"after/{number}", full(f"after/{number}")))
    until(lambda: names(worker) - before, {f"after/{number}"})


MALFORMED = {
    "no object": [],
    "no model": {"router_id": "r", "model_id": "a/b", "profiles_added": [], "epoch": 1},
    "another's name": {"model_id": "a/b", "model_config": full("c/d")},
    "a list for a text": {"model_config": [full("a/b")]},
    "a text for a number": {"epoch": "1"},
    "no yaml": {"model_config": "sie_id: [a"},
    "a module nobody has": {"model_config": full("a/b").replace(MODULE, "os.path")},
}


def test_what_is_malformed_is_counted_and_ignored(beside: tuple[Served, OldRouter]) -> None:
    worker, router = beside
    before = names(worker)
    for said in MALFORMED.values():
        whole = announcement(router, "a/b", full("a/b"))
        router.say(SUBJECT, {**whole, **said} if isinstance(said, dict) and "router_id" not in said else said)
    router.say(SUBJECT, announcement(router, "well/formed", full("well/formed")))
    until(lambda: names(worker) - before, {"well/formed"})


@pytest.mark.slow
def test_with_a_bus_key_no_old_router_is_heard(mixed: Mixed, stack: ExitStack) -> None:
    worker = mixed.worker(SIE_BUS_KEY="a key", **ALONE)
    router = old_router(mixed, stack, worker)
    (linked,) = router.linked.values()
    before = linked.message["bundle_config_hash"]
    status, body = router.add_model(full("demo/unsealed"))
    assert (status, body["acked_workers"], body["total_eligible"], body["worker_ack_pending"]) == (201, 0, 1, True)
    assert (linked.message["bundle_config_hash"], names(worker)) == (before, {"shipped/minilm"})


def test_an_open_status_lets_in_who_shows_no_token_and_nothing_else(mixed: Mixed, stack: ExitStack) -> None:
    closed = mixed.worker(SIE_AUTH_TOKEN="reads", **ALONE)
    opened = mixed.worker(SIE_AUTH_TOKEN="reads", SIE_STATUS_OPEN="true", **ALONE)
    router = old_router(mixed, stack, opened)
    refused = stack.enter_context(OldRouter(mixed.nats.url, workers=[closed.address], bundles=BUNDLES, redial_s=0.2))
    until(lambda: [one.refused for one in refused.linked.values()], [401])
    assert acked(router.add_model(full("demo/minilm"))[1]) == (1, 1, [])
    asked = httpx.post(f"{opened.address}/v1/encode/demo/minilm", json={"items": [{"text": "a"}]})
    assert (asked.status_code, httpx.get(f"{opened.address}/v1/models").status_code) == (401, 401)
    assert httpx.post(f"{opened.address}/v1/embeddings", json={"model": "demo/minilm", "input": "a"}).status_code == 401
    assert encode(router.address, "demo/minilm").status_code == 401
    # It passes its client's own token on, as it came.
    through = encode(router.address, "demo/unknown", Authorization="Bearer reads")
    assert through.status_code == 404
    assert httpx.get(f"{opened.address}/v1/models", headers=bearer("reads")).status_code == 200


def test_a_worker_of_ours_that_leaves_says_so_and_is_redialled_where_another_takes_its_place(
    mixed: Mixed, stack: ExitStack
) -> None:
    worker = mixed.worker(**ALONE)
    router = old_router(mixed, stack, worker)
    (linked,) = router.linked.values()
    assert worker.stop() == 0
    until(lambda: linked.healthy, False)
    assert linked.heard is not None
    assert linked.heard.ready is False  # its last word
    assert encode(router.address, "shipped/minilm").json() == {"message": "No healthy workers available"}
    mixed.worker("--port", worker.address.rpartition(":")[2], **ALONE)
    until(lambda: linked.healthy, True)
    assert acked(router.add_model(full("demo/again"))[1]) == (1, 1, [])


# -- this project's router


@dataclass
class Together:
    """A router and a worker of each release, on one NATS."""

    ours: Served
    theirs: OldRouter
    new: Served
    old: OldWorker


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    """For tests that leave both routers with the same models."""
    with NatsServer() as nats, mixed_cluster(nats, tmp_path_factory.mktemp("together")) as mixed, ExitStack() as stack:
        old = stack.enter_context(OldWorker(nats.url, name="old", files=[FILE]))
        new = mixed.worker(SIE_CONFIG_RECONCILE_S="60")  # it looks for nothing of its own accord
        ours = mixed.router(old.address, new.address)
        until(lambda: httpx.get(f"{new.address}/readyz").status_code, 200)
        yield Together(ours, old_router(mixed, stack, old, new), new, old)


def test_an_old_router_and_ours_share_a_bus_and_workers_of_both(together: Together) -> None:
    ours, theirs, old, new = together.ours, together.theirs, together.old, together.new
    added = post(ours, full("from/ours", "medical"))
    assert (added.status_code, added.json()["worker_ack_pending"]) == (201, False)
    until(lambda: "from/ours" in theirs.models, True)
    said = next(one for one in theirs.heard if one["model_id"] == "from/ours")  # it may be said again
    assert {name: type(said[name]) for name in ANNOUNCED_TO_ROUTERS} == ANNOUNCED_TO_ROUTERS
    assert (said["profiles_added"], said["affected_bundles"]) == (["default", "medical"], ["default"])
    assert (said["epoch"], said["router_id"]) == (added.json()["config_revision"], added.json()["router_id"])
    assert "bundle_config_hash" not in said
    assert yaml.safe_load(said["model_config"]) == yaml.safe_load(full("from/ours", "medical"))
    assert theirs.failed == []
    until(lambda: theirs.hash(), old.hash)

    # Theirs is applied by both workers; it moves no revision and no router of ours, which has its store to go by.
    status, body = theirs.add_model(full("from/theirs"))
    assert (status, body["acked_workers"] > 0, body["total_eligible"], body["warnings"]) == (201, True, 2, [])
    until(lambda: "from/theirs" in names(new), True)
    assert httpx.get(f"{ours.address}{MODELS}/from/theirs").status_code == 404
    until(lambda: {one.message["bundle_config_hash"] for one in theirs.linked.values()}, {theirs.hash()})

    # Posted here as well it is ours, and both confirm: the hash fits again.
    again = post(ours, full("from/theirs"))
    assert (again.status_code, again.json()["worker_ack_pending"]) == (201, False)
    until(lambda: [one["bundle_config_hash"] for one in workers_of(ours)], [old.hash] * 2)
    assert encode(new.address, "from/theirs").status_code in {200, 503}
    assert [one["healthy"] for one in workers_of(ours)] == [True, True]


ANNOUNCED_TO_ROUTERS = {
    "model_id": str,
    "profiles_added": list,
    "epoch": int,
    "router_id": str,
    "model_config": str,
    "affected_bundles": list,
}


def test_a_worker_that_lacks_nothing_shows_an_old_router_its_new_hash_at_once(together: Together) -> None:
    """Nothing else happens in it by which the hash would come out."""
    theirs, linked = together.theirs, together.theirs.linked[together.new.address]
    until(lambda: linked.message["bundle_config_hash"], theirs.hash())
    assert theirs.add_model(full("from/them-alone"))[0] == 201
    until(lambda: linked.message["bundle_config_hash"], theirs.hash(), 3)


def test_what_our_store_says_wins_over_what_an_old_router_said_before(together: Together) -> None:
    ours, theirs, new = together.ours, together.theirs, together.new
    theirs.add_model(full("both/say").replace("8192", "4096"))
    until(lambda: "both/say" in names(new), True)
    added = post(ours, full("both/say"))
    assert (added.status_code, added.json()["worker_ack_pending"]) == (201, False)
    theirs.models["both/say"] = yaml.safe_load(full("both/say"))  # or its hash would be another for ever
    until(lambda: [one["bundle_config_hash"] for one in workers_of(ours)], [worker_hash(theirs.models)] * 2, 3)


def test_a_store_of_an_old_router_is_taken_over_under_running_workers(mixed: Mixed, stack: ExitStack) -> None:
    old = stack.enter_context(OldWorker(mixed.nats.url, name="old", files=[FILE]))
    new = mixed.worker(**ALONE)
    folder = mixed.folder / "taken"
    theirs = old_router(mixed, stack, old, new, store=folder)
    for number in range(3):
        assert theirs.add_model(full(f"taken/model-{number}"))[0] == 201
    assert theirs.add_model(full("taken/model-0", "medical"))[0] == 201
    until(lambda: {one.message["bundle_config_hash"] for one in theirs.linked.values()}, {theirs.hash()})
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert (folder / "epoch").read_text() == "4"
    theirs.close()

    ours = mixed.router(old.address, new.address, store="taken")
    listed = httpx.get(ours.address + MODELS).json()["models"]
    assert {one["model_id"]: (one["profiles"], one["source"]) for one in listed} == {
        "shipped/minilm": (["default"], "filesystem"),
        "taken/model-0": (["default", "medical"], "api"),
        "taken/model-1": (["default"], "api"),
        "taken/model-2": (["default"], "api"),
    }
    until(lambda: post(ours, full("taken/model-0", "medical")).json()["acked_workers"], 2)  # once the hash is known
    assert encode(ours.address, "taken/model-0").status_code in {200, 503}
    # An old worker keeps the old epochs as watermarks, and ours go on above them.
    appended = post(ours, full("taken/model-0", "medical", "legal"))
    assert (appended.status_code, appended.json()["created_profiles"]) == (201, ["legal"])
    until(lambda: set(old.models["taken/model-0"]["profiles"]), {"default", "medical", "legal"})
    assert old.heard[-1]["epoch"] > 4
    until(lambda: post(ours, full("taken/model-0", "legal")).json()["acked_workers"], 2)
    assert {file: file.read_bytes() for file in before} == before


# -- what needs its weights, which have been loading since the first of these tests


def test_what_an_old_router_reads_of_our_status_is_there_and_means_what_it_takes_it_for(
    beside: tuple[Served, OldRouter],
) -> None:
    _, router = beside
    (linked,) = router.linked.values()
    until(lambda: "shipped/minilm" in linked.message["loaded_models"], True, 60)
    told, heard = linked.message, linked.heard
    assert heard is not None
    absent = {"max_batch_requests", "counters", "histograms"}  # see the test below
    assert misfits(told, {name: kind for name, kind in FIELDS.items() if name not in absent}) == {}
    assert (heard.ready, heard.bundle, heard.machine_profile, heard.pool_name) == (True, "default", "l4-spot", "")
    assert heard.name
    assert heard.max_batch_requests == 64  # what it takes where nothing is said
    assert heard.queue_depth == 0
    assert heard.gpu_count == len(told["gpus"])
    assert (heard.memory_used_bytes, heard.memory_total_bytes) == (0, 0)  # a CPU's worker
    (model,) = [one for one in told["models"] if one["name"] == "shipped/minilm"]
    assert model["state"] == "loaded"
    assert model["memory_bytes"] > 10**7
    assert model["state"] in STATES
    assert {type(told["server"][name]) for name in ("uptime_seconds", "pid")} == {int}
    assert told["server"]["version"]
    assert len(json.dumps(told)) <= 4096


def test_every_documented_field_of_the_status_is_there(beside: tuple[Served, OldRouter]) -> None:
    _, router = beside
    (linked,) = router.linked.values()
    until(lambda: "shipped/minilm" in linked.message["loaded_models"], True, 60)
    told = linked.message
    assert misfits(told, FIELDS) == {}
    assert misfits(told["server"], SERVER) == {}
    assert told["models"]
    assert [misfits(one, MODEL) for one in told["models"]] == [{}] * len(told["models"])


def test_an_old_proxy_passes_on_what_our_worker_answers(beside: tuple[Served, OldRouter]) -> None:
    _, router = beside
    (linked,) = router.linked.values()
    until(lambda: "shipped/minilm" in linked.message["loaded_models"], True, 60)
    packed = httpx.post(
        f"{router.address}/v1/encode/default:/shipped/minilm?lost=here",
        content=msgpack.packb({"items": [{"text": "a cat", "id": "one"}]}),
        headers={
            "Content-Type": "application/msgpack",
            "Accept": "application/msgpack",
            "X-SIE-SDK-Version": "0.1.10",
            "X-SIE-MACHINE-PROFILE": "l4",  # which it takes for l4-spot, and passes on unchanged
            "X-SIE-Pool": "pool",
        },
        timeout=60,
    )
    assert (packed.status_code, packed.headers["Content-Type"]) == (200, "application/msgpack"), packed.text
    assert linked.heard is not None
    assert packed.headers["X-SIE-Worker"] == linked.heard.name
    assert packed.headers["X-SIE-Server-Version"]
    for name in ("X-Queue-Time", "X-Tokenization-Time", "X-Inference-Time", "X-Total-Time"):
        assert packed.headers[name] == f"{float(packed.headers[name]):.2f}"
    raw = msgpack.unpackb(packed.content)
    assert raw["model"] == "shipped/minilm"
    assert set(raw["timing"]) == {"total_ms", "queue_ms", "tokenization_ms", "inference_ms", "postprocessing_ms"}
    array = raw["items"][0]["dense"]["values"]
    assert (array[b"nd"], array[b"type"], array[b"kind"], array[b"shape"]) == (True, "<f4", b"", [384])
    dense = msgpack.unpackb(packed.content, object_hook=msgpack_numpy.decode)["items"][0]["dense"]
    assert (dense["dims"], dense["dtype"], dense["values"].shape) == (384, "float32", (384,))
    plain = encode(router.address, "shipped/minilm", Accept="application/json")
    assert plain.json()["items"][0]["dense"]["values"] == pytest.approx(dense["values"].tolist(), abs=1e-5)
    unsaid = encode(router.address, "shipped/minilm", Accept="text/html")
    assert unsaid.headers["Content-Type"] == "application/msgpack"
