"""Looking from outside: nothing is written, nobody is disturbed, and what is whole is said to be whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sie.errors import StoreUnavailable
from sie.store.check import check_store, export_store
from sie.store.files import locked
from tests.store.samples import entry, local


def _state(base: Path) -> list[tuple[str, bytes, int]]:
    return sorted((str(one), one.read_bytes(), one.stat().st_mtime_ns) for one in base.rglob("*") if one.is_file())


async def test_a_whole_store_is_said_to_be_whole_and_left_as_it_was(tmp_path: Path) -> None:
    store = await local(tmp_path)
    for revision in (1, 2, 3):
        await store.append(entry(revision))
    await store.save_snapshot(2, b"content")
    (tmp_path / "log" / ".put-0123.tmp").write_bytes(b"an append under way")
    before = _state(tmp_path)
    report = check_store(str(tmp_path))
    assert report.ok
    assert (report.entries, report.head, report.snapshots, report.legacy) == (3, 3, 1, None)
    assert [json.loads(line)["revision"] for line in export_store(str(tmp_path))] == [1, 2, 3]
    assert _state(tmp_path) == before


async def test_an_export_is_one_line_an_entry_with_everything_in_it(tmp_path: Path) -> None:
    store = await local(tmp_path)
    await store.append(entry(1, text="two\nlines"))
    (line,) = export_store(tmp_path)
    assert "\n" not in line
    assert json.loads(line)["fields"] == {"description": "two\nlines"}
    assert line.encode() == (tmp_path / "log/0000000001.json").read_bytes()


async def test_a_check_does_not_wait_for_who_uses_the_store(tmp_path: Path) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    with locked(tmp_path / "lock", patience_s=0):
        assert check_store(tmp_path).ok
        assert len(list(export_store(tmp_path))) == 1


async def test_an_entry_that_comes_during_the_listing_is_not_taken_for_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing may miss a name that is added while it is made, and show a later one."""
    store = await local(tmp_path)
    for revision in (1, 2, 3):
        await store.append(entry(revision))
    real, log = os.listdir, tmp_path / "log"
    listings = iter([["0000000001.json", "0000000003.json"]])
    monkeypatch.setattr(os, "listdir", lambda path: next(listings, real(path)) if path == log else real(path))
    assert check_store(tmp_path).ok


def test_where_there_is_no_store_it_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreUnavailable) as caught:
            check_store(path)
        assert str(path) in caught.value.message
        with pytest.raises(StoreUnavailable):
            list(export_store(path))


async def test_a_check_tells_of_a_v0_1_10_store_beside_ours(tmp_path: Path) -> None:
    await local(tmp_path)
    (tmp_path / "epoch").write_text("7")
    legacy = check_store(tmp_path).legacy
    assert legacy is not None
    assert legacy.epoch == 7
    (tmp_path / "models").write_text("not a directory")
    assert [str(tmp_path / "models") in one for one in check_store(tmp_path).problems] == [True]
