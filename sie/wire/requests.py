# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""Bodies of encode and score requests, read strictly: what this build cannot do with them is said, with its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sie.catalog.canonical import Json
from sie.errors import InvalidInput
from sie.wire import document
from sie.wire.inference import EncodeRequest, Item, ScoreRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may hold: items, UTF-8 bytes of one text, values of any kind."""

    items: int
    text_bytes: int
    values: int


def read_encode(content: bytes, content_type: str | None, limits: Limits) -> EncodeRequest:
    """Raises InvalidInput. Whether types, dtypes and options mean something is the engine's to judge."""
    body = document.read_document(content, content_type, values=limits.values)
    params = document.mapping(body, "params")
    return EncodeRequest(
        items=_items(body, limits),
        output_types=document.texts(params, "output_types", "params.output_types"),
        output_dtype=document.text(params, "output_dtype", "params.output_dtype"),
        instruction=document.text(params, "instruction", "params.instruction"),
        options=_options(params, "params.options"),
    )


def read_score(content: bytes, content_type: str | None, limits: Limits) -> ScoreRequest:
    """Raises InvalidInput."""
    body = document.read_document(content, content_type, values=limits.values)
    if body.get("query") is None:
        raise InvalidInput("Field 'query' is missing", path="query")
    return ScoreRequest(
        query=_item(body["query"], "query", limits),
        items=_items(body, limits),
        instruction=document.text(body, "instruction"),
        options=_options(body, "options"),
    )


def check_text(value: str, path: str, limits: Limits) -> str:
    # Four bytes a character at most, so that a short text costs no encoding.
    if len(value) * 4 > limits.text_bytes and len(value.encode()) > limits.text_bytes:
        raise InvalidInput(f"Field '{path}' is longer than {limits.text_bytes:,} bytes", path=path)
    return value


def check_count(count: int, path: str, limits: Limits) -> None:
    if count == 0:
        raise InvalidInput(f"Field '{path}' must not be empty", path=path)
    if count > limits.items:
        message = f"Field '{path}' has {count:,} items; send at most {limits.items:,} in one request"
        raise InvalidInput(message, path=path)


def _items(body: Mapping[str, Any], limits: Limits) -> tuple[Item, ...]:
    found = body.get("items")
    if found is None:
        raise InvalidInput("Field 'items' is missing", path="items")
    if not isinstance(found, list):
        raise document.wrong("items", "a list", found)
    check_count(len(found), "items", limits)
    return tuple(_item(one, f"items[{position}]", limits) for position, one in enumerate(found))


def _item(found: Any, path: str, limits: Limits) -> Item:
    if not isinstance(found, dict):
        raise document.wrong(path, "an object", found)
    for kind in ("images", "audio", "video"):
        if found.get(kind):
            raise InvalidInput(f"Field '{path}.{kind}': this build takes texts only", path=f"{path}.{kind}")
    value = document.text(found, "text", f"{path}.text")
    if value is None:
        raise InvalidInput(f"Field '{path}.text' is missing", path=f"{path}.text")
    document.mapping(found, "metadata", f"{path}.metadata")
    return Item(text=check_text(value, f"{path}.text", limits), id=document.text(found, "id", f"{path}.id"))


def _options(holder: Mapping[str, Any], path: str) -> Mapping[str, Json]:
    """Null is absent here too, so that no default is overruled by it."""
    options = document.json_mapping(holder, "options", path)
    return {key: value for key, value in options.items() if value is not None}
