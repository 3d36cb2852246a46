"""One weight for each word of the vocabulary that a text is about: SPLADE and its like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.util import select_max_active_dims

from sie.worker.adapters.contract import LoadOrder, Result, Row, RunOptions
from sie.worker.adapters.transformer import TransformerAdapter

# Logits for every token over the whole vocabulary, as float32: what one batch may take for them.
LOGITS_BYTES = 256 * 2**20


class SparseAdapter(TransformerAdapter):
    """Vectors equal to `SparseEncoder.encode`: the indices that are not zero, ascending, and their values."""

    library = SparseEncoder
    outputs = frozenset({"sparse"})

    def __init__(self, order: LoadOrder) -> None:
        super().__init__(order)
        self._most: int | None = getattr(self._model, "max_active_dims", None)
        probe = self._embed([Row(self.tokenise(["probe"], RunOptions())[0], self.outputs, RunOptions())])
        self.dims = {"sparse": probe.shape[1]}
        self.batch_tokens = max(1, LOGITS_BYTES // (4 * probe.shape[1]))

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> list[Result]:
        embedded = self._embed(rows)
        found = embedded.nonzero()  # by row, and ascending within one
        indices = found[:, 1].to(torch.int32).cpu().numpy()
        values = embedded[found[:, 0], found[:, 1]].float().cpu().numpy()
        ends = embedded.count_nonzero(dim=1).cumsum(0).cpu().tolist()
        return [Result(sparse=(indices[begin:end], values[begin:end])) for begin, end in pairwise([0, *ends])]

    @torch.inference_mode()
    def _embed(self, rows: Sequence[Row]) -> torch.Tensor:
        most = {} if self._most is None else {"max_active_dims": self._most}
        embedded: torch.Tensor = self._model(self._features(rows), **most)["sentence_embedding"]
        return embedded if self._most is None else select_max_active_dims(embedded, max_active_dims=self._most)
