"""Texts to tokens without the library's own way around its tokeniser, which takes as long again as the tokeniser."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tokenizers import Tokenizer

from sie.worker.adapters.contract import Text

log = logging.getLogger("sie.worker.adapters")

# Ids, and token types if the model takes any, of each text.
Tokenise: TypeAlias = Callable[[Sequence[Text]], tuple[Sequence[Sequence[int]], Sequence[Sequence[int]] | None]]

# What both ways are compared by: empty, pieces of words, other scripts, special tokens spelled out, too long.
_TRIED = (
    "",
    "a",
    "Anti-dis-establishment, 1,234.5!",
    "Größe 東京 ❤️ e\u0301",
    "[SEP] <s> </s> [MASK]",
    "long words " * 2000,
)


def tokeniser_of(library: Any, *, limit: int | None, types: bool, kwargs: Mapping[str, Any], pairs: bool) -> Tokenise:
    """How to tokenise for a model: each text by itself, cut to `limit` tokens, with special tokens, not padded.

    `library`: its tokeniser of transformers, called with `kwargs`. What does the same more quickly is taken instead
    where there is such a thing and it gives the same tokens. To be called by one thread at a time.
    """

    def slowly(texts: Sequence[Text]) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]] | None]:
        firsts = [text if isinstance(text, str) else text[0] for text in texts]
        seconds = None if isinstance(texts[0], str) else [text[1] for text in texts]
        encoded = library(firsts, seconds, padding=False, max_length=limit, return_attention_mask=False, **kwargs)
        return encoded["input_ids"], encoded["token_type_ids"] if types else None

    quick = _quick(library, limit, types) if kwargs == {"truncation": "longest_first"} else None
    if quick is None:
        return slowly
    tried: list[Text] = [(one, other) for one in _TRIED for other in _TRIED[:3]] if pairs else list(_TRIED)
    for text in tried:
        if _as_lists(quick([text])) != _as_lists(slowly([text])):
            log.warning("%s tokenises %r in a way of its own", type(library).__name__, str(text)[:40])
            return slowly
    return quick


def _quick(library: Any, limit: int | None, types: bool) -> Tokenise | None:
    backend = getattr(library, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    own = Tokenizer.from_str(backend.to_str())  # a copy: the library sets its own to what each call asks
    own.no_padding()
    if limit is None:
        own.no_truncation()
    else:
        own.enable_truncation(limit, strategy="longest_first", direction=library.truncation_side)

    def tokenise(texts: Sequence[Text]) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]] | None]:
        encoded = [_one(own, texts[0])] if len(texts) == 1 else own.encode_batch_fast(list(texts))
        return [one.ids for one in encoded], [one.type_ids for one in encoded] if types else None

    return tokenise


def _one(own: Tokenizer, text: Text) -> Any:
    """By itself: a batch is spread over threads, which for one text costs more than it brings."""
    return own.encode(text) if isinstance(text, str) else own.encode(*text)


def _as_lists(tokens: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]] | None]) -> object:
    ids, types = tokens
    return [list(one) for one in ids], None if types is None else [list(one) for one in types]
