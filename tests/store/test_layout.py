from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import StoreCorrupt
from sie.store.layout import frame_snapshot, number_in, numbered, unframe_snapshot


@given(st.integers(min_value=1, max_value=10**14))
def test_a_number_survives_its_name(revision: int) -> None:
    assert number_in(numbered(revision)) == revision


def test_names_are_as_documented() -> None:
    assert numbered(42) == "0000000042.json"
    assert numbered(12_345_678_901) == "12345678901.json"


@pytest.mark.parametrize(
    "name",
    [
        "0000000000.json",
        "42.json",
        "00000000042.json",
        "0000000042.JSON",
        "0000000042.json~",
        "0000000042.json\n",
        "٠٠٠٠٠٠٠٠٤٢.json",
        ".DS_Store",
        "",
    ],
)
def test_a_name_that_is_never_given_is_no_number(name: str) -> None:
    assert number_in(name) is None


@given(st.integers(min_value=1, max_value=10**9), st.binary(max_size=200))
def test_a_snapshot_survives_its_frame(revision: int, content: bytes) -> None:
    assert unframe_snapshot(frame_snapshot(revision, content), name="it", revision=revision) == content


@given(content=st.binary(min_size=1, max_size=100), cut=st.data())
def test_a_snapshot_cut_short_is_not_taken_for_whole(content: bytes, cut: st.DataObject) -> None:
    framed = frame_snapshot(7, content)
    length = cut.draw(st.integers(0, len(framed) - 1))
    assert unframe_snapshot(framed[:length], name="it", revision=7) is None


@given(content=st.binary(max_size=100), where=st.data())
def test_a_snapshot_with_one_flipped_bit_is_not_taken_for_whole(content: bytes, where: st.DataObject) -> None:
    framed = bytearray(frame_snapshot(7, content))
    framed[where.draw(st.integers(0, len(framed) - 1))] ^= 1 << where.draw(st.integers(0, 7))
    with suppress(StoreCorrupt):  # the flip made it another format, which is loud
        assert unframe_snapshot(bytes(framed), name="it", revision=7) is None


def test_a_renumbered_snapshot_is_not_taken_for_whole() -> None:
    assert unframe_snapshot(frame_snapshot(7, b"content"), name="it", revision=8) is None


def test_a_snapshot_of_an_unknown_format_stops_the_reader_and_is_named() -> None:
    with pytest.raises(StoreCorrupt) as caught:
        unframe_snapshot(b'{"format":2}\nanything', name="snapshot/0000000007.json", revision=7)
    assert "snapshot/0000000007.json has format 2" in caught.value.message


@given(st.binary(max_size=60))
def test_a_foreign_file_is_no_snapshot(content: bytes) -> None:
    assert unframe_snapshot(content, name="it", revision=7) is None
