"""Variables: `$model` in any text of a case. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_VARIABLE = re.compile(r"\$(?:\$|([a-z][a-z0-9_]*))")

# Keys that say how a value is to be matched (see spec/expect.py), which look like variables.
MATCHERS = frozenset(
    {
        *("$type", "$matches", "$one_of", "$absent", "$contains", "$unordered", "$at_least", "$at_most", "$not"),
        *("$length", "$each", "$sorted", "$yaml", "$sum"),
    }
)


class UnknownVariable(Exception):
    """The text names it."""


def fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """The value with every variable filled in. One that is a whole text keeps its type; `$$` is a dollar.

    Raises UnknownVariable.
    """
    if isinstance(value, str):
        return _fill_text(value, variables)
    if isinstance(value, list):
        return [fill(one, variables) for one in value]
    if isinstance(value, dict):
        return {_fill_key(key, variables): _fill_under(key, one, variables) for key, one in value.items()}
    return value


def variables_in(value: Any) -> Iterator[str]:
    """The names of all variables in a value."""
    if isinstance(value, str):
        yield from (name for name in _VARIABLE.findall(value) if name)
    elif isinstance(value, list):
        for one in value:
            yield from variables_in(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in MATCHERS:
                yield from variables_in(key)
            yield from variables_in(one)


def _fill_text(text: str, variables: Mapping[str, Any]) -> Any:
    if (whole := _VARIABLE.fullmatch(text)) and whole[1]:
        return _value(whole[1], variables)
    return _VARIABLE.sub(lambda found: str(_value(found[1], variables)) if found[1] else "$", text)


def _fill_key(key: Any, variables: Mapping[str, Any]) -> Any:
    return str(_fill_text(key, variables)) if isinstance(key, str) and key not in MATCHERS else key


def _fill_under(key: Any, value: Any, variables: Mapping[str, Any]) -> Any:
    if key in ("$matches", "matches", "until") and isinstance(value, str):
        # In a pattern, what a variable holds means itself.
        return _VARIABLE.sub(lambda found: re.escape(str(_value(found[1], variables))) if found[1] else r"\$", value)
    return fill(value, variables)


def _value(name: str, variables: Mapping[str, Any]) -> Any:
    try:
        return variables[name]
    except KeyError:
        raise UnknownVariable(f"${name} is not set here") from None
