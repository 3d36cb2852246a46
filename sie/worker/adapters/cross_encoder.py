"""One score for a query and a document read together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder

from sie.errors import ModelLoadFailed
from sie.worker.adapters.contract import LoadOrder, Result, Row
from sie.worker.adapters.transformer import TransformerAdapter


class CrossEncoderAdapter(TransformerAdapter):
    """Scores equal to `CrossEncoder.predict` with the model's own activation. An instruction goes before the query."""

    library = CrossEncoder
    outputs = frozenset({"score"})
    pairs = True

    def _read(self, order: LoadOrder) -> Any:
        model = super()._read(order)
        labels = model.config.num_labels
        if labels != 1:
            raise ModelLoadFailed(f"It gives {labels} numbers for a pair; a score is one")
        return model

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> list[Result]:
        features = self._features(rows)
        if isinstance(self._model, torch.nn.Sequential):
            logits = self._model(features)["scores"]
        else:  # before sentence-transformers 6
            logits = self._model.model(**features, return_dict=True).logits
        scores = self._model.activation_fn(logits.float()).squeeze(-1).cpu().tolist()
        return [Result(score=score) for score in scores]
