"""What is expected of a value, and how a value differs from it. Pure.

A mapping expects its keys and allows others; a list is exact, item by item; anything else is equal in value and type
(`true`, `1` and `1.0` are three values). A mapping of keys that begin with `$` is a matcher:

    {$type: int}              bool, int, number (int or float), str, list, map, null
    {$matches: regex}         a text in which it is found
    {$one_of: [a, b]}         one of these, each as expected
    {$absent: true}           the key is not there; false: it is there, whatever it holds
    {$contains: [a, b]}       a list with an item for each of these; of a text: it is part of it
    {$unordered: [a, b]}      a list of just these, in any order
    {$each: a}                a list of nothing else
    {$sorted: key}            a list of mappings in ascending order of this key; true: a list of values in that order
    {$at_least: n}, {$at_most: n}     a number
    {$length: n}              of a text, a list or a mapping
    {$yaml: a}                a text that is a YAML document
    {$sum: [key, other]}      the sum of the numbers at these paths of the same document
    {$not: a}                 anything else
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from spec.fill import MATCHERS
from spec.paths import NoSuchItem, look_up


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()
_TYPES: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "number": (int, float),
    "str": (str,),
    "list": (list,),
    "map": (dict,),
    "null": (type(None),),
}
_SHOWN = 600  # characters of one value


@dataclass(frozen=True, slots=True)
class Difference:
    """`at`: the path to a value; `expected` and `actual` as text."""

    at: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.at}: expected {self.expected}, got {self.actual}"


def differences(expected: Any, actual: Any, at: str = "", *, document: Any = None) -> list[Difference]:
    """How a value differs from what is expected of it; nothing if it does not. `document`: where `$sum` looks."""
    if is_matcher(expected):
        found: list[Difference] = []
        for name, wanted in expected.items():
            found += _by_matcher(name, wanted, actual, at, document)
        return found
    if actual is ABSENT:
        return [Difference(at, shown(expected), "nothing")]
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [Difference(at, "a mapping with " + ", ".join(map(str, expected)), shown(actual))]
        return [
            one
            for key, wanted in expected.items()
            for one in differences(wanted, actual.get(key, ABSENT), f"{at}.{key}".lstrip("."), document=document)
        ]
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return [Difference(at, shown(expected), shown(actual))]
        return [
            one
            for index, (wanted, has) in enumerate(zip(expected, actual, strict=True))
            for one in differences(wanted, has, f"{at}[{index}]", document=document)
        ]
    same = type(expected) is type(actual) and expected == actual
    return [] if same else [Difference(at, shown(expected), shown(actual))]


def is_matcher(expected: Any) -> bool:
    """Raises ValueError for a mapping of matchers and keys mixed, or of a matcher that is not known."""
    if not isinstance(expected, dict) or not any(str(key).startswith("$") for key in expected):
        return False
    if unknown := [str(key) for key in expected if key not in MATCHERS]:
        raise ValueError(f"{', '.join(unknown)}: not a matcher, and beside one")
    return True


def shown(value: Any) -> str:
    """A value as a reader may see it: JSON, cut where it is long."""
    text = repr(value) if value is ABSENT else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _by_matcher(name: str, wanted: Any, actual: Any, at: str, document: Any) -> list[Difference]:
    def expect(holds: bool, words: str) -> list[Difference]:
        return [] if holds else [Difference(at, words, shown(actual))]

    def fits(one: Any, has: Any) -> bool:
        return not differences(one, has, document=document)

    match name:
        case "$absent":
            return expect((actual is ABSENT) is wanted, "nothing" if wanted else "something")
        case "$not":
            return expect(not fits(wanted, actual), f"anything but {shown(wanted)}")
        case "$one_of":
            return expect(any(fits(one, actual) for one in wanted), f"one of {shown(wanted)}")
    if actual is ABSENT:
        return expect(False, f"{name[1:]} {shown(wanted)}")
    items = actual if isinstance(actual, list) else None
    match name:
        case "$type":
            is_one = isinstance(actual, _TYPES[wanted]) and (wanted == "bool" or not isinstance(actual, bool))
            return expect(is_one, f"a value of type {wanted}")
        case "$matches":
            return expect(isinstance(actual, str) and re.search(wanted, actual) is not None, f"a text like {wanted}")
        case "$contains" if isinstance(wanted, str):
            return expect(isinstance(actual, str) and wanted in actual, f"a text with {wanted!r}")
        case "$contains":
            has_all = items is not None and all(any(fits(one, has) for has in items) for one in wanted)
            return expect(has_all, f"a list that contains {shown(wanted)}")
        case "$unordered":
            return expect(items is not None and _paired(wanted, items, fits), f"in any order {shown(wanted)}")
        case "$each":
            if items is None:
                return expect(False, "a list")
            each = [differences(wanted, has, f"{at}[{index}]", document=document) for index, has in enumerate(items)]
            return [one for found in each for one in found]
        case "$sorted":
            return expect(items is not None and _is_sorted(items, wanted), f"a list in ascending order of {wanted}")
        case "$at_least":
            return expect(_is_number(actual) and actual >= wanted, f"a number of {wanted} or more")
        case "$at_most":
            return expect(_is_number(actual) and actual <= wanted, f"a number of {wanted} or less")
        case "$length":
            return expect(isinstance(actual, str | list | dict) and len(actual) == wanted, f"a length of {wanted}")
        case "$yaml":
            return _differences_in_yaml(wanted, actual, at)
        case "$sum":
            total = _sum(wanted, document)
            return expect(_is_number(actual) and actual == total, f"the sum of {', '.join(wanted)}, which is {total}")
    raise ValueError(f"{name}: not a matcher")


def _differences_in_yaml(wanted: Any, actual: Any, at: str) -> list[Difference]:
    try:
        document = yaml.safe_load(actual) if isinstance(actual, str) else ABSENT
    except yaml.YAMLError:
        document = ABSENT
    if document is ABSENT:
        return [Difference(at, "a text that is a YAML document", shown(actual))]
    return differences(wanted, document, f"{at}(yaml)", document=document)


def _sum(paths: Sequence[str], document: Any) -> float | None:
    try:
        numbers = [look_up(document, path) for path in paths]
    except NoSuchItem:
        return None
    return sum(numbers) if all(map(_is_number, numbers)) else None


def _paired(wanted: Sequence[Any], items: Sequence[Any], fits: Callable[[Any, Any], bool]) -> bool:
    """Whether each is expected by another: a matching in a bipartite graph, by augmenting paths."""
    taken: dict[int, int] = {}  # item -> wanted

    def place(want: int, seen: set[int]) -> bool:
        for index, has in enumerate(items):
            if index not in seen and fits(wanted[want], has):
                seen.add(index)
                if index not in taken or place(taken[index], seen):
                    taken[index] = want
                    return True
        return False

    return len(wanted) == len(items) and all(place(want, set()) for want in range(len(wanted)))


def _is_sorted(items: Sequence[Any], key: str | bool) -> bool:
    try:
        values = [one[key] if isinstance(key, str) else one for one in items]
        return values == sorted(values)
    except (LookupError, TypeError):
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_expected(expected: Any) -> list[str]:
    """What is wrong with the matchers in an expectation, before anything is held against it."""
    if isinstance(expected, list):
        return [fault for one in expected for fault in check_expected(one)]
    if not isinstance(expected, dict):
        return []
    try:
        matching = is_matcher(expected)
    except ValueError as fault:
        return [str(fault)]
    if not matching:
        return [fault for one in expected.values() for fault in check_expected(one)]
    faults = []
    for name, wanted in expected.items():
        if not _ARGUMENT[name](wanted):
            faults.append(f"{name}: {shown(wanted)} is not what it takes")
        elif name in ("$one_of", "$contains", "$unordered", "$each", "$yaml", "$not"):
            faults += check_expected(wanted)
    return faults


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _is_count(value: Any) -> bool:
    """A number, or a variable that holds one."""
    return _is_number(value) or (isinstance(value, str) and value.startswith("$"))


_ARGUMENT: Mapping[str, Callable[[Any], bool]] = {
    "$type": lambda value: value in _TYPES,
    "$matches": _is_pattern,
    "$one_of": lambda value: isinstance(value, list) and len(value) > 1,
    "$absent": lambda value: isinstance(value, bool),
    "$contains": lambda value: isinstance(value, str | list),
    "$unordered": lambda value: isinstance(value, list),
    "$at_least": _is_count,
    "$at_most": _is_count,
    "$not": lambda value: True,
    "$length": _is_count,
    "$each": lambda value: True,
    "$sorted": lambda value: value is True or isinstance(value, str),
    "$yaml": lambda value: True,
    "$sum": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
}
