"""The lanes, and what both devices promise: the real one and the scripted one."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trio

from sie.catalog.adapters import DENSE
from sie.errors import ConfigurationError, ModelLoadFailed
from sie.settings import Settings
from sie.testing.device import FakeDevice
from sie.worker.adapters.contract import Adapter, Result, Row, RunOptions
from sie.worker.device import Device, DeviceOutOfMemory, ThreadedDevice, host_memory_bytes, import_for_good
from sie.worker.identity import LoadIdentity
from tests.worker.made import MINILM, encode, made_model, running, score

IDENTITY = LoadIdentity(
    implementation=DENSE.path,
    weights=MINILM,
    is_path=False,
    trusted=False,
    revision=None,
    precision=None,
    max_sequence_length=None,
    loadtime_json=b"{}",
)
DEVICES: list[Callable[[], Device]] = [FakeDevice, lambda: ThreadedDevice(Settings())]


# -- what every device promises


@pytest.fixture(params=DEVICES, ids=["fake", "threaded"])
def device(request: pytest.FixtureRequest) -> Device:
    return cast("Callable[[], Device]", request.param)()


async def run_rows(device: Device, adapter: Adapter, rows: Sequence[Row]) -> list[Result]:
    done = trio.Event()
    running = device.begin(adapter, rows, done.set)
    await done.wait()
    assert running.outcome is not None
    assert not running.withdraw()
    return running.outcome.unwrap()


async def loaded(device: Device) -> Adapter:
    return await device.load(IDENTITY, await device.find(IDENTITY))


async def test_a_device_loads_tokenises_runs_and_releases(device: Device) -> None:
    assert await device.memory_bytes() > 0
    weights = await device.find(IDENTITY)
    assert weights.memory_bytes > 0
    adapter = await device.load(IDENTITY, weights)
    assert adapter.memory_bytes > 0
    assert adapter.outputs == {"dense", "multivector", "score"}
    assert not adapter.pairs
    options = RunOptions()
    tokens = await device.tokenise(adapter, ["one two three", "one", ""], options)
    assert len(tokens[0]) > len(tokens[1])
    rows = [Row(one, frozenset({"dense", "multivector"}), options) for one in tokens[:2]]
    results = await run_rows(device, adapter, rows)
    for row, result in zip(rows, results, strict=True):
        assert result.dense is not None
        assert result.dense.shape == (adapter.dims["dense"],)
        assert result.multivector is not None
        assert result.multivector.shape == (len(row.tokens), adapter.dims["multivector"])
        assert result.sparse is None
        assert result.score is None
    assert await device.host(lambda: adapter.decode(tokens[0].ids)) == "one two three"
    with pytest.raises(ValueError):
        await device.host(lambda: adapter.decode([10**9]))
    assert device.name != "auto"
    await device.release(adapter)
    device.close()


async def test_what_a_device_has_not_begun_can_be_withdrawn(device: Device) -> None:
    adapter = await loaded(device)
    options = RunOptions()
    [tokens] = await device.tokenise(adapter, ["one " * 100], options)
    rows = [Row(tokens, frozenset({"dense"}), options)]
    told: list[str] = []
    done = trio.Event()
    first = device.begin(adapter, rows * 8, lambda: told.append("first"))
    second = device.begin(adapter, rows, lambda: told.append("second"))
    assert second.withdraw()
    device.begin(adapter, rows, done.set)
    await done.wait()
    assert told == ["first"]
    assert first.outcome is not None
    assert second.outcome is None
    device.close()


async def test_a_device_raises_what_a_model_cannot_do(device: Device) -> None:
    unknown = replace(IDENTITY, implementation="sie.worker.adapters.dense:NoSuchAdapter")
    with pytest.raises((ModelLoadFailed, AttributeError)):
        await device.load(unknown, await device.find(unknown))
    device.close()


# -- the real one


async def test_torchs_out_of_memory_is_told_apart() -> None:
    import torch

    class Full:
        def __init__(self, fault: Exception) -> None:
            self.fault = fault

        def run(self, rows: object) -> object:
            raise self.fault

    device = ThreadedDevice(Settings())
    with pytest.raises(DeviceOutOfMemory):
        await run_rows(device, cast("Adapter", Full(torch.OutOfMemoryError("full"))), [])
    with pytest.raises(RuntimeError):
        await run_rows(device, cast("Adapter", Full(RuntimeError("other"))), [])
    device.close()


async def test_remote_code_that_no_setting_allows_is_named_as_the_reason() -> None:
    identity = replace(
        IDENTITY,
        implementation="sie.worker.adapters.cross_encoder:CrossEncoderAdapter",
        loadtime_json=b'{"trust_remote_code":true,"attn_implementation":"none such"}',
    )
    device = ThreadedDevice(Settings())
    with pytest.raises(ModelLoadFailed) as failed:
        await device.load(identity, await device.find(identity))
    assert "SIE_ALLOW_REMOTE_CODE" in failed.value.message
    device.close()


def test_the_hosts_memory_is_known() -> None:
    assert host_memory_bytes() > 64 * 2**20


async def test_the_real_model_end_to_end() -> None:
    model = made_model(MINILM, profiles={"medical": {"extends": "default", "max_batch_tokens": 64}})
    async with running(ThreadedDevice(Settings())) as compute:
        request = encode("cat", "kitten", "revenue " * 400, "", "cat", output_types=["dense", "multivector"])
        answer = await compute.encode(model, None, request, wait_s=120)
        cat, kitten, revenue, _, again = (one.dense.values for one in answer.items if one.dense is not None)
        assert cat @ kitten > 0.6 > 0.4 > cat @ revenue
        assert cat @ again == pytest.approx(1, abs=1e-5)
        assert answer.timing.tokens == 3 + 3 + 256 + 2 + 3
        assert answer.timing.inference_ms > 0
        batched = (await compute.encode(model, "medical", encode("cat", "kitten"))).items[0].dense
        assert batched is not None
        assert cat @ batched.values == pytest.approx(1, abs=1e-5)
        assert await compute.count_tokens(model, None, ["cat", "revenue " * 400]) == [3, 256]
        assert await compute.decode(model, None, [[4937], [101, 18401, 102]]) == ["cat", "kitten"]
        scored = await compute.score(model, None, score("a small cat", "quarterly revenue", "the kitten"))
        assert [one.item_id for one in scored.scores] == ["item-1", "item-0"]
        info = compute.describe(model)
        assert (info.dims, info.max_sequence_length) == ({"dense": 384, "multivector": 384}, 256)
        (statistics,) = compute.statistics().models
        assert statistics.memory_bytes > 80 * 2**20


def test_importing_compute_imports_nothing_heavy() -> None:
    program = (
        "import sys, sie.worker.compute, sie.testing.device;"
        "sys.exit(bool({'numpy', 'torch', 'sentence_transformers', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- imports


def test_what_is_imported_for_good_is_never_walked_by_the_collector_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_for_good.py").write_text(
        "import gc\nwalked = gc.isenabled()\nobjects = [[] for _ in range(9000)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    frozen = gc.get_freeze_count()
    try:
        module = import_for_good("heavy_for_good")
        assert not module.walked
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + 9000
        now = gc.get_freeze_count()
        assert import_for_good("heavy_for_good") is module
        assert gc.get_freeze_count() <= now
    finally:
        gc.unfreeze()


# A process in which the extra `models` is not installed.
BARE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numpy", "transformers", "sentence_transformers", "huggingface_hub"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
import trio
from sie.errors import ModelLoadFailed
from sie.settings import Settings
from sie.worker.device import ThreadedDevice
from tests.worker.made import MINILM, encode, made_model, running
async def main():
    async with running(ThreadedDevice(Settings())) as compute:
        try:
            await compute.encode(made_model(MINILM), None, encode("a"), wait_s=60)
        except ModelLoadFailed as fault:
            print(fault.message)
trio.run(main)
"""


def test_without_the_models_extra_a_load_fails_and_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'sie[models]'" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_default_precision_that_no_model_has_is_told_at_start() -> None:
    with pytest.raises(ConfigurationError, match="SIE_DEFAULT_COMPUTE_PRECISION='float8': say float32"):
        ThreadedDevice(Settings(default_precision="float8"))
