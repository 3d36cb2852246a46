"""One vector a text, or one a token, from any text transformer that sentence-transformers reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from sie.errors import ModelLoadFailed
from sie.worker.adapters.contract import LoadOrder, Result, Row, RunOptions
from sie.worker.adapters.transformer import TransformerAdapter

if TYPE_CHECKING:
    from sie.wire.inference import FloatArray


class DenseAdapter(TransformerAdapter):
    """Dense vectors equal to `SentenceTransformer.encode`; token vectors for late interaction, of length 1 each.

    One forward pass serves a whole batch; the modules after it (pooling, projection, normalising) run once for each
    set of options in it.
    """

    library = SentenceTransformer
    outputs = frozenset({"dense", "multivector", "score"})

    def __init__(self, order: LoadOrder) -> None:
        super().__init__(order)
        self._transformer, *self._head = list(self._model.children())
        pooling = next((one for one in self._head if _is(one, "Pooling")), None)
        if pooling is None:
            raise ModelLoadFailed("It has no pooling: one vector a text cannot be made from it")
        self._leaves_prompt_out = not pooling.include_prompt
        probe = self.run(
            [Row(self.tokenise(["probe"], RunOptions())[0], frozenset({"dense", "multivector"}), RunOptions())]
        )
        dense, vectors = cast("FloatArray", probe[0].dense), cast("FloatArray", probe[0].multivector)
        self.dims = {"dense": len(dense), "multivector": vectors.shape[1]}

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> list[Result]:
        features = self._transformer(self._features(rows))
        results: list[Result] = [Result()] * len(rows)
        groups: dict[tuple[frozenset[str], str | None, bool | None], list[int]] = {}
        for position, row in enumerate(rows):
            groups.setdefault((row.outputs, row.options.pooling, row.options.normalize), []).append(position)
        for (outputs, pooling, length_one), positions in groups.items():
            picked = features if len(positions) == len(rows) else _pick(features, positions, len(rows))
            dense = self._dense(picked, rows, positions, pooling, length_one) if "dense" in outputs else None
            vectors = _token_vectors(picked, length_one) if "multivector" in outputs else None
            for index, position in enumerate(positions):
                results[position] = Result(
                    dense=None if dense is None else dense[index],
                    multivector=None if vectors is None else vectors[index],
                )
        return results

    def _dense(
        self,
        features: dict[str, Any],
        rows: Sequence[Row],
        positions: Sequence[int],
        pooling: str | None,
        length_one: bool | None,
    ) -> FloatArray:
        features = dict(features)  # the modules add to it, and the token vectors are still wanted
        if self._leaves_prompt_out:
            features["attention_mask"] = _without_prompts(
                features["attention_mask"], [rows[position].tokens.prompt for position in positions]
            )
        for module in self._head:
            if _is(module, "Pooling") and pooling is not None:
                features = _pooled(module, pooling, features)
            elif not (_is(module, "Normalize") and length_one is False):
                features = module(features)
        vectors = features["sentence_embedding"]
        if length_one:
            vectors = normalize(vectors, p=2, dim=1)
        return _on_host(vectors)

    def release(self) -> None:
        del self._transformer, self._head  # or they would keep the weights
        super().release()

    def _tokens_of_prompt(self, prompt: str) -> int:
        if not prompt or not self._leaves_prompt_out:
            return 0
        ids = self._tokenizer(prompt)["input_ids"]
        # A closing token of the prompt by itself is not there when a text follows.
        return len(ids) - (bool(ids) and ids[-1] in self._tokenizer.all_special_ids)


def _pooled(pooling: Any, mode: str, features: dict[str, Any]) -> dict[str, Any]:
    """Pool in another way than the model was made for."""
    other = type(pooling)(features["token_embeddings"].shape[-1], pooling_mode=mode)
    return cast("dict[str, Any]", other(features))


def _token_vectors(features: dict[str, Any], length_one: bool | None) -> list[FloatArray]:
    """Every token the transformer saw, special ones included, of length 1 unless that was switched off."""
    vectors = features["token_embeddings"]
    if length_one is not False:
        vectors = normalize(vectors, p=2, dim=2)
    masks = features["attention_mask"].bool().cpu().numpy()
    return [row[mask] for row, mask in zip(_on_host(vectors), masks, strict=True)]


def _without_prompts(mask: torch.Tensor, prompts: Sequence[int]) -> torch.Tensor:
    """The mask with each row's first tokens hidden, wherever the row's padding is."""
    hidden = torch.tensor(prompts, device=mask.device).unsqueeze(1)
    return mask * (mask.cumsum(dim=1) > hidden)


def _pick(features: dict[str, Any], positions: Sequence[int], rows: int) -> dict[str, Any]:
    return {
        name: value[list(positions)] if isinstance(value, torch.Tensor) and value.shape[:1] == (rows,) else value
        for name, value in features.items()
    }


def _on_host(vectors: torch.Tensor) -> FloatArray:
    return cast("FloatArray", vectors.float().cpu().numpy())


def _is(module: Any, name: str) -> bool:
    """By name: the modules moved between versions of the library."""
    return type(module).__name__ == name
