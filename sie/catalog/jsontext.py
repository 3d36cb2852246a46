"""JSON bodies. libyaml reads most of them, but refuses tabs and the escapes of JSON for characters beyond 16 bits."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from sie.catalog.nodes import Nodes
from sie.catalog.scalars import NotJson, read_json_number
from sie.errors import ParseError

# A string (perhaps one without an end) or a bracket. Possessive: no text makes it look at a character twice.
_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


# Deeper text is left to the YAML parser, which does not recurse.
_RECURSION = 200


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, for a dict would hide a key said twice."""


class _Number(str):
    """A number's text, to be read where its place is known."""

    __slots__ = ()


def looks_like_json(text: str, depth_most: int) -> bool:
    """Begins as an object does, and nests within the limit and within what Python's recursive parser can take."""
    deepest = min(depth_most, _RECURSION)
    if text.lstrip(" \t\r\n")[:1] != "{":
        return False
    depth = 0
    for match in _BRACKET.finditer(text):
        if match[0] in "{[":
            depth += 1
            if depth > deepest:
                return False
        elif match[0] in "}]":
            depth -= 1
    return True


def feed_json(text: str, nodes: Nodes) -> bool:
    """Feed the value's events, or say False if the text is no JSON (it may be YAML's own flow form).

    Raises ParseError at a limit, for a key said twice, and for half a surrogate pair.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except ValueError:
        return False
    _feed(value, nodes)
    return True


def _feed(value: Any, nodes: Nodes) -> None:
    if isinstance(value, _Pairs):
        nodes.open({})
        for key, member in value:
            nodes.scalar(_whole(key), cost=len(key))
            _feed(member, nodes)
        nodes.close()
    elif isinstance(value, _Number):
        try:
            nodes.scalar(read_json_number(value), cost=len(value))
        except NotJson as refused:
            nodes.scalar(None, cost=len(value), fault=str(refused))
    elif isinstance(value, str):
        nodes.scalar(_whole(value), cost=len(value))
    elif isinstance(value, Sequence):
        nodes.open([])
        for member in value:
            _feed(member, nodes)
        nodes.close()
    else:
        nodes.scalar(value, cost=0)


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParseError(f"half a surrogate pair in {text[:80]!a}: no character") from None
    return text
