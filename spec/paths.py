"""Paths into documents: `models.0.model_id`, `models[source=filesystem].model_id`. Pure."""

from __future__ import annotations

import re
from typing import Any

_PART = re.compile(r"([^.\[\]]+)|\[([^\]=]+)=([^\]]*)\]")


class NoSuchItem(LookupError):
    """The text says what there is none of."""


class NoneLikeIt(NoSuchItem):
    """The list is there, and none of its items is as asked for."""


def look_up(document: Any, path: str) -> Any:
    """What stands there. A number is the place in a list, `[key=text]` the first item with that.

    Raises NoneLikeIt, or NoSuchItem for everything else that is not there.
    """
    found = document
    for name, key, text in _PART.findall(path):
        if key and isinstance(found, list):
            like = [one for one in found if isinstance(one, dict) and str(one.get(key)) == text]
            if not like:
                raise NoneLikeIt(f"no such item: {path}")
            found = like[0]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise NoSuchItem(f"no such item: {path}")
    return found
