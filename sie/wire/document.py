# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""A request's body as one document: JSON or msgpack in, strictly typed fields out, every fault with its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from sie.catalog.canonical import Json
from sie.errors import InvalidInput
from sie.wire import msgpack


def read_document(content: bytes, content_type: str | None, *, values: int) -> Mapping[str, Any]:
    """msgpack if the content type says so, else JSON; at most `values` values in it.

    Raises InvalidInput for anything that is not one well-formed map.
    """
    declared = (content_type or "").lower()
    if "application/msgpack" in declared or "application/x-msgpack" in declared:
        document = msgpack.unpack(content, values=values)
    else:
        document = _read_json(content, values)
    if not isinstance(document, dict):
        raise InvalidInput("The body must be one object (a map)")
    return document


def _read_json(content: bytes, values: int) -> Any:
    # The parser takes seconds for ten million `[]`, and holds every thread meanwhile.
    if _holds_more_than(values, content):
        raise InvalidInput("The body holds too many values; send fewer items at a time")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise InvalidInput(f"The body is not valid JSON: {fault}") from None


def _holds_more_than(values: int, content: bytes) -> bool:
    """Whether the parser would find so many, counting one for each bracket and comma that is not inside a string."""
    structure = content.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_STRUCTURE)
    if structure.count(b'"') > 4 * values:  # a key and a text for each, and the split below has a bound
        return True
    return sum(map(len, structure.split(b'"')[::2])) > values


# -- fields: None for what is absent or null ----------------------------------------------------


def text(document: Mapping[str, Any], key: str, path: str | None = None) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise wrong(path or key, "a string", value)
    return value


def texts(document: Mapping[str, Any], key: str, path: str | None = None) -> Sequence[str] | None:
    value = document.get(key)
    if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise wrong(path or key, "a list of strings", value)
    return cast("Sequence[str] | None", value)


def mapping(document: Mapping[str, Any], key: str, path: str | None = None) -> Mapping[str, Any]:
    """Empty if absent."""
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(path or key, "an object", value)
    return value


def json_mapping(document: Mapping[str, Any], key: str, path: str | None = None) -> Mapping[str, Json]:
    """A mapping that JSON could hold at every depth: msgpack's bytes are refused. Empty if absent."""
    found = mapping(document, key, path)
    unseen: list[Any] = [found]  # not by recursion: a thousand levels are well-formed
    while unseen:
        value = unseen.pop()
        if isinstance(value, bytes):
            raise wrong(path or key, "free of binary values", value)
        if isinstance(value, dict):
            unseen.extend(value.values())
        elif isinstance(value, list):
            unseen.extend(value)
    return cast("Mapping[str, Json]", found)


def wrong(path: str, wanted: str, value: object) -> InvalidInput:
    return InvalidInput(f"Field '{path}' must be {wanted}, not {_KINDS.get(type(value), 'a msgpack type')}", path=path)


_NO_STRUCTURE = bytes(set(range(256)) - set(b'",[{'))

_KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    bytes: "binary",
    list: "a list",
    dict: "an object",
}
