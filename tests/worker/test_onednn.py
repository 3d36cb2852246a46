"""Torch with its linear layers by oneDNN: torch's numbers, torch's weights once, and torch where it does not fit."""

from __future__ import annotations

import gc
import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import BertModel
from transformers.activations import ACT2FN

from sie.settings import Settings
from sie.worker.adapters import onednn
from sie.worker.adapters.contract import LoadOrder
from sie.worker.adapters.cross_encoder import CrossEncoderAdapter
from sie.worker.adapters.dense import DenseAdapter
from sie.worker.adapters.onednn import PackedLinear
from sie.worker.adapters.sparse import SparseAdapter
from sie.worker.device import ThreadedDevice
from tests.worker import tiny_models
from tests.worker.test_adapters import CLOSE, MINILM, cosine, order, run, texts_of_all_lengths, vectors
from tests.worker.test_backends import said


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with prompts that its pooling leaves out."""
    return tiny_models.dense(tmp_path_factory.mktemp("prompted"), include_prompt=False)


@pytest.fixture(scope="module")
def minilm() -> DenseAdapter:
    adapter = DenseAdapter(order(MINILM, backend="onednn"))
    assert adapter.backend == "onednn"
    return adapter


def packed_of(adapter: DenseAdapter) -> list[PackedLinear]:
    """Those that run in the place of torch's."""
    closure = adapter._model[0]._backend.forward.__closure__
    (copied,) = (cell.cell_contents for cell in closure if isinstance(cell.cell_contents, torch.nn.Module))
    assert not any(type(module) is torch.nn.Linear for module in copied.modules())
    return [module for module in copied.modules() if isinstance(module, PackedLinear)]


def test_dense_and_token_vectors_are_torchs_together_and_alone(minilm: DenseAdapter) -> None:
    eager, texts = DenseAdapter(order(MINILM)), [*texts_of_all_lengths(), "revenue " * 400]
    expected = vectors(eager, texts)
    assert cosine(vectors(minilm, texts), expected) >= CLOSE
    for at in (0, 3, -1):
        assert cosine(vectors(minilm, [texts[at]])[0], expected[at]) >= CLOSE
    for ours, theirs in zip(run(minilm, texts, "multivector"), run(eager, texts, "multivector"), strict=True):
        assert cosine(cast("Any", ours.multivector), cast("Any", theirs.multivector)) >= CLOSE
    assert minilm.memory_bytes == eager.memory_bytes
    assert minilm.dims == eager.dims


def test_every_linear_layer_is_packed_and_each_gelu_goes_with_its_own(minilm: DenseAdapter) -> None:
    packed = packed_of(minilm)
    assert len(packed) == 6 * 6 + 1  # six layers of six, and the pooler
    assert sum(one._behind == ("gelu", "none") for one in packed) == 6


@pytest.mark.parametrize("name", ["relu", "gelu_new", "gelu_pytorch_tanh", "gelu_python", "silu"])
def test_only_torchs_gelu_is_one(name: str) -> None:
    assert not onednn._is_gelu(ACT2FN[name])
    assert onednn._is_gelu(ACT2FN["gelu"])
    assert onednn._is_gelu(torch.nn.GELU())
    assert not onednn._is_gelu(torch.nn.GELU(approximate="tanh"))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_other_activations_stay_themselves(activation: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    path = tiny_models.written(tmp_path, BertModel(tiny_models.bert_config(hidden_act=activation)))
    texts, ours = texts_of_all_lengths(), DenseAdapter(order(path, backend="onednn"))
    assert ours.backend == "onednn"
    assert cosine(vectors(ours, texts), vectors(DenseAdapter(order(path)), texts)) >= CLOSE


def test_prompts_are_left_out_of_the_pooling_as_they_are_with_torch(prompted: Path) -> None:
    ours, eager, texts = DenseAdapter(order(prompted, backend="onednn")), DenseAdapter(order(prompted)), ["a", "b c d"]
    for options in ({"is_query": True}, {"instruction": "find"}, {}):
        assert cosine(vectors(ours, texts, **options), vectors(eager, texts, **options)) >= CLOSE


@pytest.mark.parametrize("make", [tiny_models.decoder, tiny_models.roberta])
def test_other_architectures_are_torchs_too(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path, texts = make(tmp_path), texts_of_all_lengths()
    ours = DenseAdapter(order(path, backend="onednn"))
    assert packed_of(ours)
    assert cosine(vectors(ours, texts), vectors(DenseAdapter(order(path)), texts)) >= CLOSE


def test_scores_and_sparse_vectors_are_torchs(tmp_path: Path) -> None:
    """The masked-language head of the sparse one has the embeddings' weights, which stay, for a layer of its own."""
    path, texts = tiny_models.sparse(tmp_path / "sparse"), texts_of_all_lengths()
    eager, ours = SparseAdapter(order(path)), SparseAdapter(order(path, backend="onednn"))
    assert ours.backend == "onednn"
    for one, other in zip(run(ours, texts, "sparse"), run(eager, texts, "sparse"), strict=True):
        whole = np.zeros((2, len(tiny_models.VOCABULARY)))
        for row, result in zip(whole, (one, other), strict=True):
            indices, weights = cast("Any", result.sparse)
            row[indices] = weights
        assert np.allclose(whole[0], whole[1], atol=1e-4)
    path = tiny_models.cross_encoder(tmp_path / "pairs")
    pairs = [("a b", text) for text in texts]
    expected = [one.score for one in run(CrossEncoderAdapter(order(path)), pairs, "score")]
    scores = [one.score for one in run(CrossEncoderAdapter(order(path, backend="onednn")), pairs, "score")]
    assert scores == pytest.approx(expected, abs=1e-5)


def test_torchs_linear_weights_go_and_the_rest_is_shared(prompted: Path) -> None:
    kept: dict[str, weakref.ref[Any]] = {}

    class Watched(DenseAdapter):
        def _read(self, order: LoadOrder) -> Any:
            model = super()._read(order)
            kept.update({name: weakref.ref(one) for name, one in model[0].named_parameters()})
            return model

    adapter = Watched(order(prompted, backend="onednn"))
    assert adapter.backend == "onednn"
    gc.collect()
    left = {name for name, one in kept.items() if one() is not None}
    assert left == {name for name in kept if "mbedding" in name or "LayerNorm" in name}
    assert adapter.memory_bytes == DenseAdapter(order(prompted)).memory_bytes


# -- where it does not fit


def test_for_another_precision_it_is_torch_without_a_word(prompted: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="onednn", precision="bfloat16"))
    assert adapter.backend == "torch"
    assert not [one for one in caplog.records if "backend" in one.getMessage()]


def test_a_torch_without_it_says_so(
    prompted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="onednn"))
    assert adapter.backend == "torch"
    assert said(caplog).endswith("torch is: this torch has no oneDNN")


def test_other_numbers_are_not_taken(
    prompted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_packed = PackedLinear.forward
    monkeypatch.setattr(PackedLinear, "forward", lambda self, rows: run_packed(self, rows) * 1.01)
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="onednn"))
    assert adapter.backend == "torch"
    assert "its vectors are not torch's" in said(caplog)


def test_a_model_that_reads_the_weights_itself_is_left_alone(
    prompted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attend = BertModel.forward

    def reads(self: Any, *args: Any, **kwargs: Any) -> Any:
        assert self.encoder.layer[0].output.dense.weight.ndim == 2
        return attend(self, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", reads)
    with caplog.at_level(logging.INFO, "sie"):
        adapter = DenseAdapter(order(prompted, backend="onednn"))
    assert adapter.backend == "torch"
    assert "AttributeError: 'PackedLinear' object has no attribute 'weight'" in said(caplog)
    assert vectors(adapter, ["a b"]).shape == (1, 16)


@pytest.mark.parametrize(("set_before", "expected"), [({}, "32"), ({"LRU_CACHE_CAPACITY": "7"}, "7")])
def test_its_caches_are_bounded_unless_somebody_has_said_otherwise(
    set_before: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", set_before)
    device = ThreadedDevice(Settings())
    device._choose()
    device.close()
    assert set_before == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": expected}
