"""What the three adapters share: a sentence-transformers model from a directory, its tokeniser, and padding.

A text is tokenised once, by itself; a batch is padded when it is put together. The library's own `encode` does both
for fixed slices of one call's texts, and so can neither mix requests nor batch by tokens.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import transformers
from transformers.utils import logging as transformers_logging

from sie.errors import ModelLoadFailed
from sie.worker.adapters.backend import Backend, Features, Replacement
from sie.worker.adapters.choosing import Trial, choose_backend
from sie.worker.adapters.contract import LoadOrder, Row, RunOptions, Text, Tokens
from sie.worker.adapters.tokenising import tokeniser_of

log = logging.getLogger("sie.worker.adapters")

transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # our own log lines say it once

_PLACEHOLDER = re.compile(r"\{(text|instruction)\}")
# The names a model's own prompts for texts of each kind go by.
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
# What backends are tried with: more than 128 tokens in any language model's vocabulary, fewer than 512 in most.
_LONG = " ".join(f"The quick brown fox number {number} jumps over a lazy dog, twice." for number in range(16))


class TransformerAdapter:
    """Not for use by itself: `library` is the class of sentence-transformers that reads the directory."""

    library: ClassVar[type[Any]]
    outputs: ClassVar[frozenset[str]]
    pairs: ClassVar[bool] = False

    def __init__(self, order: LoadOrder) -> None:
        self._model = self._read(order)
        self._model.eval()
        self._device = torch.device(order.device)
        self._tokenizer = self._model.tokenizer
        if padding_side := order.loadtime.get("padding_side"):
            self._tokenizer.padding_side = padding_side
        self._takes_types = "token_type_ids" in self._tokenizer.model_input_names
        self.max_sequence_length = self._limit(order.max_sequence_length or self._model.max_seq_length)
        self._tokenise = tokeniser_of(
            self._tokenizer,
            limit=self.max_sequence_length,
            types=self._takes_types,
            kwargs={"truncation": "longest_first", **self._own_text_kwargs()},
            pairs=self.pairs,
        )
        backend = self._replace_transformer(order)
        tensors = [*self._model.parameters(), *self._model.buffers()]
        self.memory_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.backend = "torch"
        if backend is not None:
            self.backend = backend.name
            self.memory_bytes += backend.memory_bytes
        self.batch_tokens: int | None = None
        self.dims: Mapping[str, int] = {}

    # -- loading

    def _read(self, order: LoadOrder) -> Any:
        """Only ever from the directory: a name that is none must not become a download."""
        if not order.path.is_dir():
            raise ModelLoadFailed(f"{order.path} is not a directory")
        model_kwargs: dict[str, Any] = {_dtype_name(): getattr(torch, order.precision)}
        if order.loadtime.get("attn_implementation") is not None:
            model_kwargs["attn_implementation"] = order.loadtime["attn_implementation"]
        if not order.allow_pickle:
            model_kwargs["use_safetensors"] = True
        model = self.library(
            str(order.path),
            device=order.device,
            local_files_only=True,
            trust_remote_code=order.trust_remote_code,
            model_kwargs=model_kwargs,
        )
        first = next(iter(model.children()), None) if isinstance(model, torch.nn.Sequential) else model
        if not hasattr(model, "tokenizer") or not callable(model.tokenizer):
            raise ModelLoadFailed(f"{type(first).__name__} has no tokenizer: this adapter runs text transformers only")
        if "message" in getattr(first, "modality_config", {}):
            raise ModelLoadFailed("Its input goes through a chat template, which this adapter does not do")
        return model

    def _own_text_kwargs(self) -> dict[str, Any]:
        """How the model's configuration has its tokeniser called, as far as it concerns one text by itself."""
        first = next(iter(self._model.children()), None)
        kwargs = (getattr(first, "processing_kwargs", None) or {}).get("text", {})
        return {
            name: value for name, value in kwargs.items() if name not in {"padding", "max_length", "logits_to_keep"}
        }

    def _limit(self, asked: int | None) -> int | None:
        """What was asked, or the number of positions the model has, where that is less."""
        for name, module in self._model.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
                # With a padding index, positions are counted from the one after it.
                reserved = 0 if module.padding_idx is None else module.padding_idx + 1
                positions = module.num_embeddings - reserved
                if asked is not None and positions < asked:
                    log.warning("max_sequence_length %d is more than the model's %d positions", asked, positions)
                return positions if asked is None else min(asked, positions)
        return asked

    def _replace_transformer(self, order: LoadOrder) -> Backend | None:
        """Put what `order` asks for in the transformer's place, whose weights then go; None: it stays."""
        if order.backend == "torch":
            return None
        transformer = next(iter(self._model.children()))
        backend = choose_backend(order, transformer, self._trial())
        if backend is not None:
            self._model[0] = Replacement(backend, transformer.module_output_name)
        return backend

    def _trial(self) -> Trial:
        options = RunOptions(doc_template="{text}")  # and so without a prompt

        def features(*texts: str) -> Features:
            both = [(text, text) for text in texts] if self.pairs else texts
            return self._features([Row(tokens, self.outputs, options) for tokens in self.tokenise(both, options)])

        def cut(rows: int, width: int) -> Features:
            return {name: value[:, :width].expand(rows, -1).contiguous() for name, value in long.items()}

        long = features(_LONG)
        mixed = features(*(_LONG[: 40 * at] for at in range(1, 17)))
        return Trial(
            brief=[features("a"), features("", _LONG[:90], "Two words")],
            checks=[features("a"), long, features("", _LONG[:90], _LONG[:400], "Two words")],
            races=[cut(1, 16), cut(32, 16), cut(32, 128), mixed],
        )

    # -- text to tokens

    def tokenise(self, texts: Sequence[Text], options: RunOptions) -> list[Tokens]:
        prompt = self._prompt(options)
        composed = [
            compose(text, prompt, options) if isinstance(text, str) else (compose(text[0], prompt, options), text[1])
            for text in texts
        ]
        ids, types = self._tokenise(composed)
        skipped = self._tokens_of_prompt(prompt)
        if types is None:
            return [Tokens(one, None, skipped) for one in ids]
        return [Tokens(one, own, skipped) for one, own in zip(ids, types, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        size = len(self._tokenizer)  # asked once: it counts every time
        if not all(0 <= one < size for one in ids):
            raise ValueError(f"ids must be from 0 to {size - 1}")
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _prompt(self, options: RunOptions) -> str:
        """What goes before each text: nothing if a template does it; else the instruction; else the model's own."""
        if _template(options) is not None:
            return ""
        if options.instruction is not None:
            return f"{options.instruction} "
        prompts: Mapping[str, str] = getattr(self._model, "prompts", None) or {}
        if options.is_query is None:
            return prompts.get(getattr(self._model, "default_prompt_name", None) or "", "")
        names = _QUERY_PROMPTS if options.is_query else _DOCUMENT_PROMPTS
        return next((prompts[name] for name in names if prompts.get(name)), "")

    def _tokens_of_prompt(self, prompt: str) -> int:
        """How many tokens of it the pooling is to leave out."""
        return 0

    # -- tokens to tensors

    def _features(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The batch, padded to its longest row."""
        width = max(1, *(len(row.tokens) for row in rows))
        left = self._tokenizer.padding_side == "left"

        def padded(values: Sequence[int], filler: int) -> list[int]:
            filling = [filler] * (width - len(values))
            return [*filling, *values] if left else [*values, *filling]

        def tensor(columns: list[list[int]]) -> torch.Tensor:
            return torch.tensor(columns).to(self._device, non_blocking=True)

        filler = self._tokenizer.pad_token_id or 0
        features: dict[str, Any] = {
            "input_ids": tensor([padded(row.tokens.ids, filler) for row in rows]),
            "attention_mask": tensor([padded([1] * len(row.tokens), 0) for row in rows]),
        }
        if self._takes_types:
            filler = self._tokenizer.pad_token_type_id
            features["token_type_ids"] = tensor([padded(row.tokens.types or (), filler) for row in rows])
        return features

    def release(self) -> None:
        del self._model
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def compose(text: str, prompt: str, options: RunOptions) -> str:
    """The text as the model reads it. A template is filled in one go: what a text or an instruction holds stays."""
    template = _template(options)
    if template is None:
        return prompt + text
    values = {"text": text, "instruction": options.instruction or ""}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _template(options: RunOptions) -> str | None:
    """Texts not said to be queries are documents, as in SIE v0.1.10."""
    return options.query_template if options.is_query else options.doc_template


def _dtype_name() -> str:
    """What transformers calls the weights' type when loading."""
    return "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
