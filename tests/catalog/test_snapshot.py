"""Snapshots: a fold continued from one is the fold from the beginning."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry
from sie.catalog.keys import Keys
from sie.catalog.snapshot import Snapshot, read_snapshot, write_snapshot
from sie.errors import StoreCorrupt
from tests.catalog.made import DENSE, catalog, entry, state
from tests.catalog.test_catalog import FILE, logs


def folded(log: list[Entry], made: Catalog, keys: Keys) -> None:
    for one in log:
        made.advance(one)
        keys.remember(one)


@given(logs(), st.data())
def test_a_fold_continued_from_a_snapshot_is_the_fold_from_the_beginning(log: list[Entry], data: st.DataObject) -> None:
    taken = data.draw(st.integers(0, len(log)))
    for files in ([], [FILE]):
        whole, early, late = catalog(*files), catalog(*files), catalog(*files)
        whole_keys, early_keys, late_keys = Keys(2), Keys(2), Keys(2)
        folded(log, whole, whole_keys)
        folded(log[:taken], early, early_keys)
        read_snapshot(write_snapshot(Snapshot.of(early, early_keys))).restore(late, late_keys)
        folded(log[taken:], late, late_keys)
        assert state(late) == state(whole)
        assert late.head == whole.head
        assert late_keys.items() == whole_keys.items()


def snapshot() -> bytes:
    made, keys = catalog(), Keys(10)
    folded([entry("a/b", 1, profiles={"default": {"adapter_path": DENSE}}, idempotency_key="k")], made, keys)
    return write_snapshot(Snapshot.of(made, keys))


def test_what_was_written_is_one_json_value_that_says_its_format() -> None:
    assert orjson.loads(snapshot())["format"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        snapshot()[:-1],
        snapshot()[:200],
        snapshot().replace(b"a/b", b"a/c"),
        snapshot() + b" ",
        snapshot().replace(b'"format":1', b'"format":2'),
        orjson.dumps({"format": 1, "sha256": "0" * 64, "content": {}}),
    ],
)
def test_anything_else_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(StoreCorrupt) as raised:
        read_snapshot(content, name="snapshot/0000000040.json")
    assert "snapshot/0000000040.json" in raised.value.message


def test_an_unknown_format_is_told_as_such() -> None:
    with pytest.raises(StoreCorrupt) as raised:
        read_snapshot(snapshot().replace(b'"format":1', b'"format":2'))
    assert "format 2" in raised.value.message
