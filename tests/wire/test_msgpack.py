"""Arrays byte for byte as the peer's library reads them; requests in which nothing is ever rebuilt or run."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack as library
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import InvalidInput
from sie.wire.msgpack import LENGTH_MOST, pack, unpack

GOLDEN = bytes.fromhex(
    "85 c4026e64 c3 c40474797065 a33c6634 c4046b696e64 c400 c4057368617065 9102 c40464617461 c4080000803f00000040"
)


def read(content: bytes) -> Any:
    return unpack(content, values=10_000)


def test_an_array_is_a_map_of_five_with_binary_keys_in_the_peers_order() -> None:
    assert pack(np.array([1.0, 2.0], dtype="<f4")) == GOLDEN


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<i4", "|i1", "|u1"])
@pytest.mark.parametrize("shape", [(0,), (1,), (384,), (3, 5), (0, 8)])
def test_the_library_that_clients_use_reads_our_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape)) % 100).astype(dtype).reshape(shape)
    found = library.unpackb(pack({"values": array}), object_hook=msgpack_numpy.decode)["values"]
    assert found.dtype == array.dtype
    assert found.shape == shape
    assert (found == array).all()


def test_an_array_that_is_a_view_is_written_in_c_order() -> None:
    array = np.arange(12, dtype="<f4").reshape(3, 4).T[::2]
    found = library.unpackb(pack(array), object_hook=msgpack_numpy.decode)
    assert (found == array).all()


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(1, dtype=[("a", "<f4")]), object(), {1, 2}])
def test_what_has_no_spelling_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        pack(value)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_array_is_refused_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    content = pickle.dumps(Trap(trap))
    for text in (bytes, lambda key: key.decode()):
        spelled = {
            text(b"nd"): True,
            text(b"type"): "|O",
            text(b"kind"): b"O",
            text(b"shape"): [1],
            text(b"data"): content,
        }
        with pytest.raises(InvalidInput):
            read(library.packb({"items": [{"text": spelled}]}))
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        {b"nd": False, b"type": "<f4", b"data": b"\0\0\0\0"},
        {b"complex": True, b"data": b"1j"},
        {"kind": "O", "data": b""},
        {"nd": True},
        {b"text": "binary key"},
    ],
)
def test_arrays_scalars_and_binary_keys_are_refused_in_any_spelling(value: Any) -> None:
    with pytest.raises(InvalidInput):
        read(library.packb({"items": [value]}))


def test_kind_is_a_word_like_any_other_in_metadata() -> None:
    assert read(library.packb({"metadata": {"kind": "article"}})) == {"metadata": {"kind": "article"}}


@pytest.mark.parametrize(
    "content",
    [
        library.packb({"a": library.ExtType(5, b"x")}),
        library.packb({"a": library.Timestamp(1)}),
        library.packb([library.Timestamp(1)]),
        b"",
        b"\xc1",
        library.packb({"items": [1, 2, 3]})[:-1],
        library.packb({"a": 1}) + b"\x00",
        library.packb({"a": 1}) * 2,
        b"\x91" * 5_000 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd" + (LENGTH_MOST + 1).to_bytes(4, "big") + b"\xc0" * (LENGTH_MOST + 1),
        b"\xa2\xff\xfe",
        b"\x81\x01\x02",
        b"\x81\xc0\x02",
        b"\xa3\xed\xa0\x80",
    ],
    ids=lambda content: content[:12].hex(),
)
def test_what_is_malformed_or_beyond_our_needs_is_one_error(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(content)


def test_a_flood_of_empty_values_ends_at_the_budget() -> None:
    flood = b"\xdc\x10\x00" + b"\x90" * 0x1000
    assert len(unpack(flood, values=10_000)) == 0x1000
    with pytest.raises(InvalidInput, match="too many values"):
        unpack(flood, values=4_000)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_value_or_invalid_input(content: bytes) -> None:
    with suppress(InvalidInput):
        read(content)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text().filter("nd".__ne__), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back_as_they_were_sent(value: Any) -> None:
    assert read(pack(value)) == value


@given(PLAIN, st.data())
def test_a_flipped_byte_is_a_value_or_invalid_input(value: Any, data: st.DataObject) -> None:
    content = bytearray(pack({"items": [{"text": "x"}], "more": value}))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(InvalidInput):
        read(bytes(content))
