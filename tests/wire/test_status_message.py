"""The status message: ours stays small and comes back as it was; v0.1.10's is understood; anything else is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import ParseError
from sie.wire.status import Nack, WorkerStatus
from sie.wire.status_message import STATUS_BYTES, Device, Process, read_status, write_status

URL = "http://w:8080"
PROCESS = Process(timestamp=1.5, version="0.1.0", uptime_s=3, pid=7)
FULL = WorkerStatus(
    name="w-0",
    bundle="sparse",
    ready=True,
    store="s",
    revision=42,
    digest="ab" * 32,
    bundle_config_hash="cd" * 32,
    nacks=(Nack("a/b", "default", "no adapter x:Y"),),
    machine_profile="l4-spot",
    loaded_models=("a/b", "c/d"),
    queue_depth=5,
    url=URL,
    gpu_count=1,
    memory_used_bytes=10,
    memory_total_bytes=20,
)

# SIE v0.1.10's message, every field of it.
V0_1_10: dict[str, Any] = {
    "timestamp": 1.0,
    "ready": True,
    "name": "worker-0",
    "machine_profile": "l4",
    "pool_name": "",
    "gpu_count": 2,
    "bundle": "default",
    "bundle_config_hash": "ef" * 32,
    "loaded_models": ["BAAI/bge-m3"],
    "max_batch_requests": 64,
    "server": {"version": "0.1.0", "uptime_seconds": 1, "user": "u", "working_dir": "/", "pid": 1},
    "gpus": [
        {
            "device": f"cuda:{number}",
            "name": "NVIDIA L4",
            "gpu_type": "l4",
            "utilization_pct": 3,
            "memory_used_bytes": 100,
            "memory_total_bytes": 1000,
            "memory_threshold_pct": 85.0,
        }
        for number in range(2)
    ],
    "models": [
        {
            "name": name,
            "state": "loaded",
            "device": "cuda:0",
            "memory_bytes": 5,
            "config": {"hf_id": name, "adapter": "a:B", "inputs": [], "outputs": [], "dims": {}},
            "queue_depth": depth,
            "queue_pending_items": 9,
            "adaptive_batching": {"calibrated": False},
        }
        for name, depth in (("BAAI/bge-m3", 3), ("x/y", 4))
    ],
    "counters": {"sie_requests": {"BAAI/bge-m3": 1.0}},
    "histograms": {},
}


def read(**fields: Any) -> WorkerStatus:
    return read_status(json.dumps(fields), url=URL)


def test_ours_comes_back_as_it_was() -> None:
    device = Device(name="cuda:0", memory_used_bytes=10, memory_total_bytes=20)
    process = Process(timestamp=1.5, version="0.1.0", uptime_s=3, pid=7, device=device)
    assert read_status(write_status(FULL, process), url=URL) == FULL


def test_ours_has_the_fields_that_a_v0_1_10_router_reads() -> None:
    busy = ({"name": "a/b", "state": "loaded", "memory_bytes": 1, "queue_depth": 5},)
    device = Device(name="cuda:0", memory_used_bytes=10, memory_total_bytes=20)
    written = orjson.loads(
        write_status(FULL, Process(timestamp=1.5, version="0.1.0", uptime_s=3, pid=7, device=device, models=busy))
    )
    shared = ("name", "bundle", "bundle_config_hash", "machine_profile", "pool_name", "loaded_models", "ready")
    assert {key: written[key] for key in shared} == {
        "name": "w-0",
        "bundle": "sparse",
        "bundle_config_hash": "cd" * 32,
        "machine_profile": "l4-spot",
        "pool_name": "",
        "loaded_models": ["a/b", "c/d"],
        "ready": True,
    }
    assert written["gpu_count"] == 1
    assert [one["queue_depth"] for one in written["models"]] == [5]
    assert [one["memory_total_bytes"] for one in written["gpus"]] == [20]
    assert written["server"] == {"version": "0.1.0", "uptime_seconds": 3, "user": "", "working_dir": "", "pid": 7}


def test_the_minimal_message_of_v0_1_10_is_enough() -> None:
    status = read(
        ready=True,
        name="w",
        bundle="b",
        bundle_config_hash="h",
        machine_profile="l4",
        loaded_models=["m"],
        models=[{"name": "m", "queue_depth": 2}],
    )
    assert status == WorkerStatus(
        name="w",
        bundle="b",
        ready=True,
        bundle_config_hash="h",
        machine_profile="l4",
        loaded_models=("m",),
        queue_depth=2,
        url=URL,
        by_hash=True,
        gpu_count=1,
    )


def test_the_full_message_of_v0_1_10_is_read() -> None:
    status = read(**V0_1_10)
    assert (status.name, status.bundle, status.ready, status.by_hash) == ("worker-0", "default", True, True)
    assert (status.queue_depth, status.gpu_count) == (7, 2)
    assert (status.memory_used_bytes, status.memory_total_bytes) == (200, 2000)
    assert (status.store, status.revision, status.nacks) == (None, 0, ())


def test_what_is_absent_or_null_has_the_defaults_of_v0_1_10() -> None:
    bare = WorkerStatus(name=URL, bundle="default", ready=False, url=URL, by_hash=True, gpu_count=1)
    assert read() == bare
    assert read(**dict.fromkeys(V0_1_10), config_revision=None, config_nacks=None) == bare


@pytest.mark.parametrize(
    "content",
    [b"", "", "hello", b"\xff\xfe", "[]", "1", "null", '"text"', "{", '{"ready": tru', "\ud800", "[" * 100_000, "NaN"],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_not_an_object_is_refused(content: str | bytes) -> None:
    with pytest.raises(ParseError):
        read_status(content, url=URL)


NOT_LISTS: list[Any] = ["x", {}, 1, [1]]
NOT_REVISIONS: list[Any] = ["1", 1.5, -1, True, 10**30, []]
NOT_TRUTHS: list[Any] = ["true", 1, []]
WRONG: list[tuple[str, Any]] = [
    *((key, 5) for key in ("name", "bundle", "bundle_config_hash", "machine_profile", "config_store", "config_digest")),
    *((key, "x" * 1025) for key in ("name", "bundle", "machine_profile")),
    *(("ready", value) for value in NOT_TRUTHS),
    *(("config_revision", value) for value in NOT_REVISIONS),
    *((key, "many") for key in ("gpu_count", "queue_depth", "config_nacks_left_out")),
    *((key, value) for key in ("loaded_models", "models", "gpus", "config_nacks") for value in NOT_LISTS),
    ("loaded_models", ["x" * 1025]),
    ("models", [{"queue_depth": "1"}]),
    ("gpus", [{"memory_used_bytes": None, "memory_total_bytes": "much"}]),
    ("config_nacks", [{"model": 1}]),
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{key}={str(value)[:12]}" for key, value in WRONG])
def test_a_field_of_the_wrong_type_is_refused_and_named(key: str, value: Any) -> None:
    with pytest.raises(ParseError) as refused:
        read(**{**V0_1_10, key: value})
    assert URL in refused.value.message
    inner = "memory_total_bytes" if key == "gpus" and isinstance(value, list) and value != [1] else key
    assert inner in refused.value.message or key in ("models", "config_nacks")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*V0_1_10, "x"]), inner, max_size=3),
    max_leaves=10,
)
KEYS = [*V0_1_10, "config_store", "config_revision", "config_digest", "config_nacks", "config_nacks_left_out"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_whatever_comes_is_a_status_or_refused(fields: dict[str, Any]) -> None:
    try:
        status = read_status(json.dumps(fields), url=URL)
    except ParseError:
        return
    assert status.url == URL
    assert status.revision >= 0


@given(st.binary(max_size=64))
def test_whatever_bytes_come_they_are_a_status_or_refused(content: bytes) -> None:
    with contextlib.suppress(ParseError):
        read_status(content, url=URL)


def test_a_large_message_with_ten_thousand_models_is_read() -> None:
    models = [{"name": f"org/model-{number}", "queue_depth": 1} for number in range(10_000)]
    assert read(ready=True, models=models).queue_depth == 10_000


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    nacks=st.integers(0, 10_000),
    loaded=st.integers(0, 10_000),
    models=st.integers(0, 10_000),
)
def test_ours_never_outgrows_its_bound(name: str, nacks: int, loaded: int, models: int) -> None:
    status = WorkerStatus(
        name=name,
        bundle=name,
        machine_profile=name,
        ready=True,
        store="s" * 32,
        revision=2**53,
        digest="d" * 64,
        bundle_config_hash="h" * 64,
        nacks=[Nack(f"org/model-{number}", "default", name * 9) for number in range(nacks)],
        loaded_models=[f"org/loaded-{number}" for number in range(loaded)],
        queue_depth=models,
    )
    each = [
        {"name": f"org/m-{number}", "state": "loaded", "memory_bytes": 2**40, "queue_depth": number}
        for number in range(models)
    ]
    device = Device(name="cuda:0", memory_used_bytes=2**40, memory_total_bytes=2**40)
    process = Process(timestamp=1.5, version="0.1.0", uptime_s=2**31, pid=2**22, device=device, models=each)
    message = write_status(status, process)
    assert len(message) <= STATUS_BYTES
    back = read_status(message, url=URL)
    assert len(back.nacks) + back.nacks_left_out == nacks
    assert back.queue_depth == models


@pytest.mark.parametrize(("name", "count"), [("cpu", 0), ("auto", 0), ("cuda:0", 1)])
def test_only_a_device_that_is_one_counts_as_a_gpu(name: str, count: int) -> None:
    written = orjson.loads(
        write_status(FULL, Process(timestamp=1.5, version="", uptime_s=3, pid=7, device=Device(name=name)))
    )
    assert (written["gpu_count"], len(written["gpus"])) == (count, count)


def test_the_newest_nacks_are_the_ones_that_are_sent() -> None:
    nacks = [Nack(f"org/model-{number}", "default", "no") for number in range(1000)]
    status = WorkerStatus(name="w", bundle="b", ready=True, nacks=nacks)
    back = read_status(write_status(status, PROCESS), url=URL)
    assert back.nacks[0] == nacks[-1]
    assert 10 < len(back.nacks) < 1000


def test_the_busiest_models_are_the_ones_that_are_listed() -> None:
    models = [{"name": f"org/m-{number}", "queue_depth": number} for number in range(1000)]
    process = Process(timestamp=1.5, version="0.1.0", uptime_s=3, pid=7, models=models)
    written = orjson.loads(write_status(WorkerStatus(name="w", bundle="b", ready=True), process))
    assert written["models"][0]["queue_depth"] == 999
    assert len(written["models"]) > 10
