# Rule: each check normalises as well: null is absent, and so is an empty mapping unless its presence says something.
"""Rules: small checks of JSON values that combine into a schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from sie.catalog.canonical import Json
from sie.catalog.faults import Faults, shown, under

# (value, its path, where faults go) -> the normalised value, or None for "as if absent" (also after a fault).
Rule: TypeAlias = Callable[[Json, str, Faults], Json]


def kind(value: Json) -> str:
    """What a value is, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def text(pattern: str, wanted: str, most: int = 256) -> Rule:
    """Text that matches as a whole; `wanted` ends the sentence "must be …"."""
    compiled = re.compile(pattern)

    def check(value: Json, path: str, faults: Faults) -> Json:
        if not isinstance(value, str):
            faults.add(path, f"must be {wanted}, not {kind(value)}")
        elif len(value) > most or compiled.fullmatch(value) is None:
            faults.add(path, f"must be {wanted}, at most {most} characters, not {shown(value)!r}")
        else:
            return value
        return None

    return check


def one_of(*choices: str) -> Rule:
    def check(value: Json, path: str, faults: Faults) -> Json:
        if isinstance(value, str) and value in choices:
            return value
        said = repr(shown(value)) if isinstance(value, str) else kind(value)
        faults.add(path, f"must be one of {', '.join(choices)}, not {said}")
        return None

    return check


def whole_number(most: int) -> Rule:
    """1 to `most`; true is none, and neither is 1.0."""

    def check(value: Json, path: str, faults: Faults) -> Json:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        said = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else kind(value)
        faults.add(path, f"must be a whole number from 1 to {most}, not {said}")
        return None

    return check


def number(value: Json, path: str, faults: Faults) -> Json:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    faults.add(path, f"must be a number, not {kind(value)}")
    return None


def flag(value: Json, path: str, faults: Faults) -> Json:
    if isinstance(value, bool):
        return value
    faults.add(path, f"must be true or false, not {kind(value)}")
    return None


def free(value: Json, path: str, faults: Faults) -> Json:
    """A mapping of anything; sorted, so that it is written out alike before and after it was stored."""
    if isinstance(value, Mapping):
        return _sorted(value) or None
    faults.add(path, f"must be a mapping, not {kind(value)}")
    return None


def _sorted(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) for one in value]
    return value


def mapping(rules: Mapping[str, Rule], *, required: Collection[str] = (), keep_empty: bool = False) -> Rule:
    """A mapping of known keys. `keep_empty`: its presence says something, so `{}` stays."""

    def check(value: Json, path: str, faults: Faults) -> Json:
        if not isinstance(value, Mapping):
            faults.add(path, f"must be a mapping, not {kind(value)}")
            return None
        for key in value:
            if key not in rules:
                known = f"known here: {', '.join(rules)}" if rules else "none belongs here"
                faults.add(under(path, key), f"unknown field; {known}")
        found: dict[str, Json] = {}
        for key, rule in rules.items():
            given = value.get(key)
            if given is None:
                if key in required:
                    faults.add(under(path, key), "is required")
                continue
            normal = rule(given, under(path, key), faults)
            if normal is not None:
                found[key] = normal
        return found if found or keep_empty else None

    return check
