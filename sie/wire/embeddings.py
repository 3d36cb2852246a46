# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""OpenAI's embeddings: the request as their clients send it, the answer as they read it. JSON only."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from sie.errors import InvalidInput
from sie.wire import document
from sie.wire.answers import write_large
from sie.wire.inference import Dense, EncodeAnswer
from sie.wire.requests import Limits, check_count, check_text

if TYPE_CHECKING:
    from sie.wire.inference import FloatArray

# Above any vocabulary in use, and within what every tokenizer takes for a number.
TOKEN_ID_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsRequest:
    """Either `texts` or `token_ids` is empty; `dimensions`: how many of the model's to keep, None for all."""

    model: str
    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] = ()
    encoding: Literal["float", "base64"] = "float"
    dimensions: int | None = None


def read_embeddings(content: bytes, limits: Limits) -> EmbeddingsRequest:
    """Raises InvalidInput. `user` and keys that are not known are ignored, as OpenAI's own does."""
    body = document.read_document(content, None, values=limits.values)
    model = document.text(body, "model")
    if not model:
        raise InvalidInput("Field 'model' is missing", path="model")
    encoding = document.text(body, "encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise InvalidInput("Field 'encoding_format' must be 'float' or 'base64'", path="encoding_format")
    texts, token_ids = _input(body.get("input"), limits)
    return EmbeddingsRequest(
        model=model,
        texts=texts,
        token_ids=token_ids,
        encoding=cast("Literal['float', 'base64']", encoding),
        dimensions=_dimensions(body.get("dimensions")),
    )


def write_embeddings(answer: EncodeAnswer, request: EmbeddingsRequest) -> bytes:
    """`usage` counts what the model's own tokenizer made of the texts.

    Raises InvalidInput if the model's vectors are shorter than the dimensions asked for, or not dense.
    """
    data = (
        {"object": "embedding", "index": index, "embedding": _embedding(one.dense, request)}
        for index, one in enumerate(answer.items)
    )
    tokens = answer.timing.tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return write_large("data", data, {"object": "list", "model": answer.model, "usage": usage})


def _embedding(dense: Dense | None, request: EmbeddingsRequest) -> FloatArray | str:
    if dense is None:
        raise InvalidInput(f"Model '{request.model}' gives no dense vectors", path="model")
    kept = dense.values if request.dimensions is None else _shortened(dense.values, request.dimensions)
    return kept if request.encoding == "float" else base64.b64encode(kept.astype("<f4").tobytes()).decode()


def _shortened(values: FloatArray, dimensions: int) -> FloatArray:
    """The first of them, at unit length again: what models trained for it (Matryoshka) mean by fewer dimensions."""
    if dimensions > len(values):
        raise InvalidInput(f"Field 'dimensions': the model gives {len(values)} at most", path="dimensions")
    if dimensions == len(values):
        return values
    import numpy as np

    kept = values[:dimensions]
    length = float(np.linalg.norm(kept))
    return kept / np.float32(length) if length > 0 else kept


def _input(found: Any, limits: Limits) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Four shapes: a text, texts, one text's token ids, several texts' token ids."""
    if found is None:
        raise InvalidInput("Field 'input' is missing", path="input")
    if isinstance(found, str):
        if not found:
            raise InvalidInput("Field 'input' must not be empty", path="input")
        return (check_text(found, "input", limits),), ()
    if not isinstance(found, list):
        raise document.wrong("input", _SHAPES, found)
    if found and all(type(one) is int for one in found):
        return (), (_token_ids(found, "input", limits),)
    check_count(len(found), "input", limits)
    if all(isinstance(one, str) for one in found):
        return tuple(check_text(one, f"input[{at}]", limits) for at, one in enumerate(found)), ()
    if all(isinstance(one, list) for one in found):
        return (), tuple(_token_ids(one, f"input[{at}]", limits) for at, one in enumerate(found))
    raise document.wrong("input", _SHAPES, found)


def _token_ids(found: Sequence[Any], path: str, limits: Limits) -> tuple[int, ...]:
    if not found:
        raise InvalidInput(f"Field '{path}' must not be empty", path=path)
    if len(found) > limits.text_bytes:
        raise InvalidInput(f"Field '{path}' has more than {limits.text_bytes:,} token ids", path=path)
    if not all(type(one) is int and 0 <= one <= TOKEN_ID_MOST for one in found):
        raise InvalidInput(f"Field '{path}' must hold token ids, whole numbers from 0", path=path)
    return tuple(found)


def _dimensions(found: int | None) -> int | None:
    if found is not None and (type(found) is not int or found < 1):
        raise InvalidInput("Field 'dimensions' must be a whole number from 1", path="dimensions")
    return found


_SHAPES = "a string, a list of strings, a list of token ids, or a list of such lists"
