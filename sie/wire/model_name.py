# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""The one field of a body that a router reads and writes: OpenAI's `model`, which names no path."""

from __future__ import annotations

import orjson

from sie.errors import InvalidInput
from sie.wire import document


def read_model_name(content: bytes, *, values: int) -> str:
    """Raises InvalidInput for a body that is no JSON object of at most `values` values, or names no model."""
    name = document.text(document.read_document(content, None, values=values), "model")
    if not name:
        raise InvalidInput("Field 'model' is missing", path="model")
    return name


def with_model_name(content: bytes, name: str) -> bytes:
    """The same body, which has been read already, with another `model`."""
    return orjson.dumps({**orjson.loads(content), "model": name})
