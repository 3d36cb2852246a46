"""msgpack from strangers: nothing in it is rebuilt or run, wherever it stands, and little of it costs little."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import Any

import msgpack as library
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import InvalidInput
from sie.wire.msgpack import LENGTH_MOST, unpack
from tests.fuzz.strategies import values

VALUES = 1000

kinds = st.sampled_from([b"O", b"V", b"", "O", "V"])
arrays = st.builds(
    lambda kind, data: {b"nd": True, b"type": "|O", b"kind": kind, b"shape": [1], b"data": data},
    kinds,
    st.binary(max_size=9),
)
keys = st.sampled_from(["nd", "type", "kind", "data", "shape"])
forbidden = (
    arrays
    | arrays.map(lambda one: {key.decode(): value for key, value in one.items()})
    | st.builds(library.ExtType, st.integers(0, 127), st.binary(max_size=9))
    | st.builds(library.Timestamp, st.integers(0, 2**32 - 1))
    | st.dictionaries(
        st.binary(max_size=3) | st.integers() | st.none() | st.booleans(), values, min_size=1, max_size=2
    ).filter(lambda one: any(not isinstance(key, str) for key in one))
)
placed = st.recursive(
    forbidden,
    lambda one: (
        st.lists(one, min_size=1, max_size=2) | st.dictionaries(st.text(max_size=3), one, min_size=1, max_size=2)
    ),
    max_leaves=3,
)


def int_keys_fit(value: Any) -> bool:
    """msgpack has no integers beyond 64 bits."""
    with suppress(OverflowError):
        library.packb(value)
        return True
    return False


@given(placed.filter(int_keys_fit), values)
def test_what_no_request_needs_is_refused_wherever_it_stands(one: Any, beside: Any) -> None:
    for value in ({"items": [beside, one]}, [{"a": beside, "b": one}]):
        with pytest.raises(InvalidInput):
            unpack(library.packb(value), values=VALUES)


def test_a_timestamp_alone_is_refused_too() -> None:
    with pytest.raises(InvalidInput):
        unpack(library.packb(library.Timestamp(1)), values=VALUES)


# The first bytes of each kind, lengths and depths made up: what a client has to send for them is a few bytes each.
heads = st.sampled_from(
    [
        b"\xdc",
        b"\xdd",
        b"\xde",
        b"\xdf",
        b"\xc4",
        b"\xc5",
        b"\xc6",
        b"\xd9",
        b"\xda",
        b"\xdb",
        b"\xc7",
        b"\xc8",
        b"\xc9",
    ]
)
lengths = st.integers(0, 2**32 - 1) | st.sampled_from([LENGTH_MOST, LENGTH_MOST + 1, 2**31])
pieces = st.one_of(
    st.builds(lambda head, length: head + length.to_bytes(4, "big"), heads, lengths),
    st.binary(max_size=6),
    st.sampled_from([b"\x91", b"\x81\xa1a", b"\x90", b"\x80", b"\x9f", b"\x8f", b"\xc1", b"\xd4\x00\x00"]),
)


@given(st.lists(st.tuples(pieces, st.integers(1, 40)), max_size=12))
def test_any_bytes_are_a_value_or_refused_and_take_no_more_memory_than_they_may(
    written: list[tuple[bytes, int]],
) -> None:
    content = b"".join(piece * times for piece, times in written)
    tracemalloc.start()
    try:
        with suppress(InvalidInput):
            unpack(content, values=VALUES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A declared length is believed once a level, 8 bytes each; no level is entered without a byte that says so.
    assert peak <= 65_536 + 100 * len(content) + 8 * LENGTH_MOST * min(len(content), 1024)
