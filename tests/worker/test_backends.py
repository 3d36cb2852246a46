"""A quicker backend gives torch's numbers, or is not taken, and the log says why. Real models, real graphs."""

from __future__ import annotations

import gc
import json
import logging
import math
import re
import shutil
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from sie.catalog.adapters import find_adapter
from sie.errors import ConfigurationError, ModelLoadFailed, ValidationError
from sie.settings import Settings
from sie.worker.adapters import choosing, onnx
from sie.worker.adapters.backend import Backend
from sie.worker.adapters.contract import LoadOrder
from sie.worker.adapters.cross_encoder import CrossEncoderAdapter
from sie.worker.adapters.dense import DenseAdapter
from sie.worker.adapters.sparse import SparseAdapter
from sie.worker.device import ThreadedDevice
from sie.worker.identity import identify
from tests.catalog.made import catalog, post
from tests.worker import tiny_models
from tests.worker.made import DENSE, made_model
from tests.worker.test_adapters import CLOSE, MINILM, cosine, order, run, texts_of_all_lengths, vectors
from tests.worker.test_device import IDENTITY


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all graphs of this file are kept: each is exported once."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def minilm(graphs: Path) -> DenseAdapter:
    adapter = DenseAdapter(order(MINILM, backend="onnx", graphs=graphs))
    assert adapter.backend == "onnx"
    return adapter


@pytest.fixture(scope="module")
def eager() -> DenseAdapter:
    return DenseAdapter(order(MINILM))


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with prompts that its pooling leaves out."""
    return tiny_models.dense(tmp_path_factory.mktemp("prompted"), include_prompt=False)


@pytest.fixture(scope="module")
def quick(prompted: Path, graphs: Path) -> DenseAdapter:
    adapter = DenseAdapter(order(prompted, backend="onnx", graphs=graphs / "tiny"))
    assert adapter.backend == "onnx"
    return adapter


@pytest.fixture
def kept(quick: DenseAdapter, graphs: Path, tmp_path: Path) -> Path:
    """The folder of the tiny model's graph, in a place of its own."""
    (found,) = (graphs / "tiny").iterdir()
    shutil.copytree(found, tmp_path / "kept" / found.name)
    return tmp_path / "kept" / found.name


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def exported(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("exported")

    monkeypatch.setattr(torch.onnx, "export", exported)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The one line of a load that says what came of its backend."""
    (line,) = (one.getMessage() for one in caplog.records if one.getMessage().startswith("backend "))
    return line


# -- onnx: the same numbers


def test_dense_vectors_are_torchs_together_and_alone(minilm: DenseAdapter, eager: DenseAdapter) -> None:
    texts = [*texts_of_all_lengths(), "revenue " * 400]
    expected = vectors(eager, texts)
    assert cosine(vectors(minilm, texts), expected) >= CLOSE
    for at in (0, 3, -1):
        assert cosine(vectors(minilm, [texts[at]])[0], expected[at]) >= CLOSE
    for options in ({"instruction": "find"}, {"pooling": "cls"}, {"normalize": False}):
        assert cosine(vectors(minilm, texts[:4], **options), vectors(eager, texts[:4], **options)) >= CLOSE


def test_token_vectors_are_torchs(minilm: DenseAdapter, eager: DenseAdapter) -> None:
    texts = texts_of_all_lengths()
    for ours, theirs in zip(run(minilm, texts, "multivector"), run(eager, texts, "multivector"), strict=True):
        one, other = cast("Any", ours.multivector), cast("Any", theirs.multivector)
        assert one.shape == other.shape
        assert cosine(one, other) >= CLOSE


def test_the_weights_are_there_once(minilm: DenseAdapter, eager: DenseAdapter, quick: DenseAdapter) -> None:
    assert list(minilm._model.parameters()) == []
    assert minilm.memory_bytes == pytest.approx(eager.memory_bytes, rel=0.1)
    assert minilm.dims == eager.dims
    projection = sum(one.numel() * 4 for one in quick._model.parameters())
    assert quick.memory_bytes > projection == (32 + 1) * 16 * 4


def test_prompts_are_left_out_of_the_pooling_as_they_are_with_torch(prompted: Path, quick: DenseAdapter) -> None:
    eager, texts = DenseAdapter(order(prompted)), texts_of_all_lengths()
    for options in ({"is_query": True}, {"is_query": False}, {"instruction": "find"}, {}):
        assert cosine(vectors(quick, texts, **options), vectors(eager, texts, **options)) >= CLOSE


def test_sparse_vectors_are_torchs(graphs: Path, tmp_path: Path) -> None:
    path, texts = tiny_models.sparse(tmp_path), texts_of_all_lengths()
    eager, ours = SparseAdapter(order(path)), SparseAdapter(order(path, backend="onnx", graphs=graphs))
    assert (ours.backend, ours.dims, ours.batch_tokens) == ("onnx", eager.dims, eager.batch_tokens)
    for one, other in zip(run(ours, texts, "sparse"), run(eager, texts, "sparse"), strict=True):
        whole = np.zeros((2, len(tiny_models.VOCABULARY)))
        for row, result in zip(whole, (one, other), strict=True):
            indices, weights = cast("Any", result.sparse)
            row[indices] = weights
        assert np.allclose(whole[0], whole[1], atol=1e-4)


def test_scores_are_torchs(graphs: Path, tmp_path: Path) -> None:
    path = tiny_models.cross_encoder(tmp_path)
    pairs = [("a b", text) for text in texts_of_all_lengths()]
    expected = [one.score for one in run(CrossEncoderAdapter(order(path)), pairs, "score")]
    ours = CrossEncoderAdapter(order(path, backend="onnx", graphs=graphs))
    assert ours.backend == "onnx"
    assert [one.score for one in run(ours, pairs, "score")] == pytest.approx(expected, abs=1e-5)


# -- onnx: what is kept


@pytest.mark.usefixtures("no_export")
def test_a_kept_graph_is_used_again(kept: Path, prompted: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in kept.iterdir()}
    adapter = DenseAdapter(order(prompted, backend="onnx", graphs=kept.parent))
    assert adapter.backend == "onnx"
    assert {file.name: file.stat().st_mtime_ns for file in kept.iterdir()} == before


def truncated(folder: Path) -> None:
    with (folder / "graph.onnx.data").open("r+b") as file:
        file.truncate(1000)


def flipped(folder: Path) -> None:
    with (folder / "graph.onnx.data").open("r+b") as file:
        file.write(b"\xff")


def foreign(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not ours")


TORN: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "one byte flipped": flipped,
    "a file in its place": foreign,
    "no list": lambda folder: (folder / "files.json").unlink(),
    "a list that is none": lambda folder: (folder / "files.json").write_text("{"),
    "a file more": lambda folder: (folder / "more").write_text(""),
}


@pytest.mark.parametrize("tear", TORN.values(), ids=list(TORN))
def test_a_torn_graph_is_seen(tear: Callable[[Path], object], kept: Path) -> None:
    assert onnx.is_whole(kept)
    tear(kept)
    assert not onnx.is_whole(kept)


def test_a_torn_graph_is_made_again_and_torchs_weights_go(kept: Path, prompted: Path) -> None:
    """They would stay if the exporter kept anything of what it has exported."""
    weights: list[weakref.ref[Any]] = []

    class Watched(DenseAdapter):
        def _read(self, order: LoadOrder) -> Any:
            model = super()._read(order)
            weights.extend(weakref.ref(one) for one in model[0].parameters())
            return model

    truncated(kept)
    adapter = Watched(order(prompted, backend="onnx", graphs=kept.parent))
    assert adapter.backend == "onnx"
    gc.collect()
    assert weights
    assert [one for one in weights if one() is not None] == []
    assert onnx.is_whole(kept)
    assert list(kept.parent.iterdir()) == [kept]
    assert cosine(vectors(adapter, ["a b"]), vectors(DenseAdapter(order(prompted)), ["a b"])) >= CLOSE


def test_another_process_that_was_quicker_is_no_fault(
    kept: Path, prompted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(graph: Any, example: Any, path: Path) -> None:
        shutil.copytree(kept, tmp_path / "new" / kept.name)
        path.write_text("the later one")

    monkeypatch.setattr(onnx, "_export", overtaken)
    assert DenseAdapter(order(prompted, backend="onnx", graphs=tmp_path / "new")).backend == "onnx"
    assert [one.name for one in (tmp_path / "new").iterdir()] == [kept.name]


# -- what is not taken


@pytest.mark.usefixtures("no_export")
def test_a_graph_with_other_numbers_is_not_taken(kept: Path, prompted: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = np.fromfile(kept / "graph.onnx.data", np.float32)
    (weights * np.float32(0.98)).tofile(kept / "graph.onnx.data")
    (kept / "files.json").write_text(json.dumps(onnx._digests(kept)))
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="onnx", graphs=kept.parent))
    assert adapter.backend == "torch"
    assert "its vectors are not torch's" in said(caplog)
    assert cosine(vectors(adapter, ["a"]), vectors(DenseAdapter(order(prompted)), ["a"])) >= CLOSE


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
@pytest.mark.parametrize("backend", ["onnx", "auto"])
def test_without_the_packages_torch_runs_it_and_the_extra_is_named(
    package: str, backend: str, prompted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend=backend))
    assert adapter.backend == "torch"
    assert f"{package} is not installed: pip install 'sie[onnx]'" in said(caplog)


@pytest.mark.usefixtures("no_export")
def test_onnx_is_for_float32_alone(
    prompted: Path, graphs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sie"):
        half = DenseAdapter(order(prompted, backend="onnx", graphs=graphs, precision="bfloat16"))
    assert half.backend == "torch"
    assert "bfloat16" in said(caplog)


def test_a_disk_that_cannot_be_written_leaves_torch(
    prompted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="onnx", graphs=tmp_path / "file"))
    assert adapter.backend == "torch"
    assert "Error: " in said(caplog)


def test_a_transformer_whose_layers_the_head_reads_is_left_alone(
    prompted: Path, graphs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(prompted, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "output_hidden_states": True}))
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(tmp_path / "model", backend="onnx", graphs=graphs))
    assert adapter.backend == "torch"
    assert "every layer" in said(caplog)


def test_numbers_are_compared_by_direction_and_shape() -> None:
    mask = {"attention_mask": torch.tensor([[1, 1], [1, 0]])}
    vectors_ = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(3))
    moved = vectors_.clone()
    moved[1, 1] = 7  # padding
    assert choosing._distance(vectors_, moved, mask) == 0
    moved[1, 0, 0] = math.nan
    assert not choosing._distance(vectors_, moved, mask) <= choosing.DISTANCE_MOST
    assert choosing._distance(vectors_, vectors_[:1], mask) == math.inf
    assert choosing._distance(vectors_, vectors_ * 1.01, mask) == pytest.approx(0.01, rel=1e-3)
    logits = torch.tensor([[2.0], [1e-7]])
    assert choosing._distance(logits, logits + 1e-6, {}) < 1e-6 < choosing._distance(logits, -logits, {})


# -- auto


def test_auto_takes_the_quickest_and_says_what_it_measured(
    prompted: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="auto", graphs=kept.parent))
    line = said(caplog)
    shapes = "1x16, 32x16, 32x48, 16x48"
    assert line.startswith(f"backend auto: {adapter.backend}; time over {shapes} by torch's: torch 1.00")
    shares = {name: float(share) for name, share in re.findall(r"(torch|onednn|onnx) (\d+\.\d+)", line)}
    assert len(shares) == 3
    assert shares[adapter.backend] == min(shares.values())


def test_a_race_ends_in_time_and_sees_who_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "RACE_S", 0.1)
    runs = []

    def slow(features: Any) -> torch.Tensor:
        runs.append(1)
        time.sleep(choosing.RACE_S)
        return torch.zeros(1)

    races = [{"input_ids": torch.zeros(1, 2)}]
    took = choosing._race([Backend("slow", slow, 0), Backend("quick", lambda _: torch.zeros(1), 0)], races)
    assert min(took["quick"]) < choosing.RACE_S <= min(took["slow"])
    assert len(runs) == 1


# -- how one is asked for


def test_a_posted_document_names_one_there_is() -> None:
    def body(backend: object) -> dict[str, Any]:
        options = {"loadtime": {"backend": backend}}
        return {"sie_id": "org/model", "profiles": {"default": {"adapter_path": DENSE, "adapter_options": options}}}

    for known in ("onednn", "torch", "onnx", "compile", "auto"):
        assert post(catalog(), body(known)).changes
    for unknown in ("tensorrt", 1, None, ["onnx"]):
        with pytest.raises(ValidationError) as refused:
            post(catalog(), body(unknown))
        (fault,) = refused.value.fields["details"]
        assert fault["path"] == "profiles.default.adapter_options.loadtime.backend"
        assert '"onnx"' in fault["message"]


def test_an_unknown_one_is_named_with_the_choices_wherever_it_comes_from(prompted: Path) -> None:
    with pytest.raises(ModelLoadFailed) as failed:
        DenseAdapter(order(prompted, backend="tensorrt"))
    assert "loadtime.backend" in failed.value.message
    assert "torch, onednn, onnx, compile, auto" in failed.value.message
    with pytest.raises(ConfigurationError) as refused:
        ThreadedDevice(Settings(backend="tensorrt"))
    assert "SIE_BACKEND" in str(refused.value)


def test_two_backends_are_two_residents() -> None:
    quick = {"extends": "default", "adapter_options": {"loadtime": {"backend": "onnx"}}}
    model, adapter = made_model(profiles={"quick": quick}), find_adapter(DENSE)
    assert adapter is not None
    identities = {identify(model, model.resolve(name), adapter) for name in ("default", "quick")}
    assert len(identities) == 2


async def test_a_profile_wins_over_the_setting(graphs: Path, minilm: DenseAdapter) -> None:
    device = ThreadedDevice(Settings(backend="onnx", graphs=graphs))
    for loadtime, expected in ((b"{}", "onnx"), (b'{"backend":"torch"}', "torch")):
        identity = replace(IDENTITY, loadtime_json=loadtime)
        adapter = await device.load(identity, await device.find(identity))
        assert cast("DenseAdapter", adapter).backend == expected
        await device.release(adapter)
    device.close()


def test_a_released_model_keeps_no_weights(prompted: Path) -> None:
    adapter = DenseAdapter(order(prompted))
    weights = [weakref.ref(one) for one in adapter._model.parameters()]
    adapter.release()
    gc.collect()
    assert weights
    assert [one for one in weights if one() is not None] == []


# -- compile


@pytest.mark.slow
def test_compiled_vectors_are_torchs_or_it_says_why_not(prompted: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="compile"))
    assert adapter.backend == ("torch" if shutil.which("g++") is None else "compile"), said(caplog)
    texts = texts_of_all_lengths()
    assert cosine(vectors(adapter, texts), vectors(DenseAdapter(order(prompted)), texts)) >= CLOSE
    assert adapter.memory_bytes == DenseAdapter(order(prompted)).memory_bytes


def test_what_cannot_be_compiled_is_left_to_torch(
    prompted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compiled(run: Any, dynamic: bool) -> Any:
        def first_run(features: Any) -> torch.Tensor:
            raise RuntimeError("no C++ compiler\nand much more")

        return first_run

    monkeypatch.setattr(torch, "compile", compiled)
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="compile"))
    assert adapter.backend == "torch"
    assert said(caplog).endswith("torch is: RuntimeError: no C++ compiler")
