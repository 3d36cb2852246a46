"""Scalars: one piece of YAML text to the JSON value it stands for, by PyYAML's own rules for YAML 1.1."""

from __future__ import annotations

import math
from typing import Any

from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from sie.catalog.canonical import Json
from sie.catalog.faults import shown

_PREFIX = "tag:yaml.org,2002:"
_RESOLVER: Any = Resolver()
_CONSTRUCTOR = SafeConstructor()
_CONSTRUCT = {
    f"{_PREFIX}null": _CONSTRUCTOR.construct_yaml_null,
    f"{_PREFIX}bool": _CONSTRUCTOR.construct_yaml_bool,
    f"{_PREFIX}int": _CONSTRUCTOR.construct_yaml_int,
    f"{_PREFIX}float": _CONSTRUCTOR.construct_yaml_float,
}
# `=` and `<<` as values have a tag of their own in YAML 1.1 and no meaning: they are the text they look like.
_TEXT = frozenset({f"{_PREFIX}str", f"{_PREFIX}value", f"{_PREFIX}merge"})

# Longer ones are never meant, and `1:1:1:…` (base 60 in YAML 1.1) takes the square of its length to compute.
_NUMBER_CHARS = 512
_INTEGERS = range(-(2**63), 2**63)


class NotJson(Exception):
    """The text stands for something that JSON has no form for; says what, and the cure."""


def tag_of(event: Any) -> str:
    """What the text is: its tag if it has one, else what YAML 1.1 takes it for."""
    if event.tag is None or event.tag == "!":
        tag: str = _RESOLVER.resolve(ScalarNode, event.value, event.implicit)
        return tag
    return str(event.tag)


def read_scalar(tag: str, text: str) -> Json:
    """Raises NotJson: a date, a foreign tag, or a number that `number` refuses."""
    if tag in _TEXT:
        return text
    if tag == f"{_PREFIX}timestamp":
        raise NotJson(f'a date has no JSON form: quote it, "{shown(text)}"')
    construct = _CONSTRUCT.get(tag)
    if construct is None:
        raise NotJson(f"the tag {shown(tag)} has no JSON form: leave it out, or quote the value")
    if len(text) > _NUMBER_CHARS:
        raise NotJson("a number too long to be one: quote it if it is text")
    try:
        value: Json = construct(ScalarNode(tag, text))
    except (ValueError, OverflowError, LookupError, ConstructorError):
        raise NotJson(f"{shown(text)!r} is not what its tag {shown(tag)} says") from None
    return number(value)


def read_json_number(text: str) -> Json:
    """A JSON number's text. Raises NotJson as `number` does."""
    if len(text) > _NUMBER_CHARS:
        raise NotJson("a number too long to be one: quote it if it is text")
    return number(int(text) if text.lstrip("-").isdigit() else float(text))


def number(value: Json) -> Json:
    """The value itself. Raises NotJson for what no other reader of JSON would give back: NaN, infinity, 65 bits."""
    if isinstance(value, float) and not math.isfinite(value):
        raise NotJson("NaN and infinity have no JSON form")
    if isinstance(value, int) and value not in _INTEGERS:
        raise NotJson("an integer beyond 64 bits has no portable form: quote it if it is text")
    return value
