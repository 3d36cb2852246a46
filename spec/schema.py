"""The part of JSON Schema that case.schema.yaml is written in. A keyword outside it is an error, never ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAID_ONLY = {"$schema", "title", "description", "$defs"}


def faults(value: object, schema: Any, root: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """What is wrong with a value, each as `path: what must be`. `root`: where `$ref` leads into.

    Raises ValueError for a keyword that is not known here.
    """
    if schema is True:
        return
    for keyword, wanted in schema.items():
        if keyword not in _SAID_ONLY:
            yield from _faults_by(keyword, wanted, value, schema, root, at)


def _faults_by(
    keyword: str, wanted: Any, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    here = at or "the case"
    match keyword:
        case "$ref":
            yield from faults(value, _referred(wanted, root), root, at)
        case "oneOf":
            yield from _one_of(wanted, value, root, at)
        case "type":
            names = [wanted] if isinstance(wanted, str) else wanted
            if not any(_is_a(value, name) for name in names):
                yield f"{here}: must be {' or '.join(names)}"
        case "enum":
            if value not in wanted:
                yield f"{here}: must be one of {', '.join(map(str, wanted))}"
        case "pattern":
            if isinstance(value, str) and not re.search(wanted, value):
                yield f"{here}: {value!r} must match {wanted}"
        case "minimum":
            if isinstance(value, int | float) and value < wanted:
                yield f"{here}: must be {wanted} or more"
        case "minItems" | "minProperties":
            if isinstance(value, list if keyword == "minItems" else dict) and len(value) < wanted:
                yield f"{here}: must have {wanted} or more"
        case "items":
            for index, one in enumerate(value if isinstance(value, list) else ()):
                yield from faults(one, wanted, root, f"{at}[{index}]")
        case "required":
            for name in wanted if isinstance(value, dict) else ():
                if name not in value:
                    yield f"{here}: lacks `{name}`"
        case "properties":
            for name, one in value.items() if isinstance(value, dict) else ():
                if name in wanted:
                    yield from faults(one, wanted[name], root, f"{at}.{name}".lstrip("."))
        case "additionalProperties":
            known = schema.get("properties", {})
            for name, one in value.items() if isinstance(value, dict) else ():
                if name in known:
                    continue
                if wanted is False:
                    yield f"{here}: `{name}` is not known"
                else:
                    yield from faults(one, wanted, root, f"{at}.{name}".lstrip("."))
        case _:
            raise ValueError(f"the schema uses `{keyword}`, which is not known here")


def _one_of(alternatives: list[Any], value: Any, root: Mapping[str, Any], at: str) -> Iterator[str]:
    """Of several forms of which none fits, the one that is meant is of the value's type and has the fewest faults."""
    tried = [list(faults(value, one, root, at)) for one in alternatives]
    fitting = sum(not one for one in tried)
    if fitting > 1:
        yield f"{at or 'the case'}: fits several forms at once"
    elif not fitting:
        of_its_type = [found for one, found in zip(alternatives, tried, strict=True) if _may_be(value, one, root)]
        yield from min(of_its_type or tried, key=len)


def _may_be(value: object, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    while "$ref" in schema:
        schema = _referred(schema["$ref"], root)
    return "type" not in schema or _is_a(value, schema["type"])


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    return root["$defs"][reference.removeprefix("#/$defs/")]


def _is_a(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])
