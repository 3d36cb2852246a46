# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""msgpack with arrays as clients of v0.1.10 read them, and requests without any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from sie.errors import InvalidInput

# An array's or map's declared length is believed before its content is seen, at up to 1,000 levels of nesting:
# this bounds what ten bytes can make us allocate, and is still above any request's number of items.
LENGTH_MOST = 131_072


def pack(value: Any) -> bytes:
    """As msgpack; an array becomes a map of five with binary keys, its content as raw bytes in C order.

    Raises TypeError for what has no spelling, arrays of Python objects among it.
    """
    packed: bytes = msgpack.packb(value, default=_spelled)
    return packed


def unpack(content: bytes, *, values: int) -> Any:
    """One plain msgpack value holding at most `values` others.

    Nothing in it is ever run or rebuilt: arrays, extensions and binary keys are refused, however they are spelled.
    Raises InvalidInput.
    """
    budget = _Budget(values)
    try:
        found = msgpack.unpackb(
            content,
            object_hook=budget.take_map,
            list_hook=budget.take_list,
            ext_hook=_refuse_extension,
            max_array_len=LENGTH_MOST,
            max_map_len=LENGTH_MOST,
        )
    except (ValueError, msgpack.UnpackException) as fault:
        raise InvalidInput(f"The body is not valid msgpack: {fault}") from None
    if type(found) is msgpack.Timestamp:
        _refuse_extension(-1, b"")
    return found


class _Budget:
    """Counts values as they are built, so that a flood of empty ones ends early."""

    def __init__(self, values: int) -> None:
        self.left = values

    def take_list(self, found: list[Any]) -> list[Any]:
        self._take(1 + len(found))
        if msgpack.Timestamp in map(type, found):
            _refuse_extension(-1, b"")
        return found

    def take_map(self, found: dict[Any, Any]) -> dict[Any, Any]:
        self._take(1 + len(found))
        for key, value in found.items():
            if type(key) is not str:
                raise InvalidInput("The body holds a map with a key that is not text; arrays are not accepted here")
            if type(value) is msgpack.Timestamp:
                _refuse_extension(-1, b"")
        if _is_array(found):
            raise InvalidInput("The body holds an array; this build takes texts only")
        return found

    def _take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise InvalidInput("The body holds too many values; send fewer items at a time")


def _is_array(found: Mapping[str, Any]) -> bool:
    # `kind` "O" makes the public array extension of msgpack unpickle `data`, which is to run it. We never would; a
    # request that tries is told so all the same. `kind` alone is a word people use in metadata.
    return "nd" in found or ("kind" in found and "data" in found)


def _refuse_extension(code: int, _content: bytes) -> Any:
    raise InvalidInput(f"The body holds a msgpack extension (type {code}), which no request needs")


def _spelled(value: Any) -> Mapping[bytes, Any]:
    # Late, and free by now: who has an array has loaded numpy. A router has neither.
    import numpy as np

    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise TypeError(f"msgpack has no spelling for {type(value).__name__}")
    return {
        b"nd": True,
        b"type": value.dtype.str,
        b"kind": b"",
        b"shape": value.shape,
        b"data": np.ascontiguousarray(value).data,
    }
