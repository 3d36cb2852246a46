"""The local directory: what lies on the disk, and in which order it gets there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sie.catalog.entry import write_entry
from sie.errors import ConfigurationError, RevisionTaken
from sie.store import files
from sie.store.layout import numbered
from tests.store.samples import entry, local


def _names(base: Path) -> list[str]:
    return sorted(str(one.relative_to(base)) for one in base.rglob("*") if one.is_file())


async def test_the_layout_on_disk_is_the_documented_one(tmp_path: Path) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    await store.append(entry(2))
    await store.save_snapshot(2, b"content")
    assert _names(tmp_path) == [
        "id",
        "lock",
        "log/0000000001.json",
        "log/0000000002.json",
        "probe",
        "snapshot/0000000002.json",
    ]
    assert (tmp_path / "id").read_text().strip() == store.id
    assert (tmp_path / "log" / numbered(2)).read_bytes() == write_entry(entry(2))
    assert json.loads((tmp_path / "log" / numbered(2)).read_text())["format"] == 1


async def test_a_store_opened_again_is_the_same_store(tmp_path: Path) -> None:
    first = await local(tmp_path / "deep" / "down")
    await first.append(entry(1))
    second = await local(tmp_path / "deep" / "down")
    assert second.id == first.id
    assert second.place == str(tmp_path / "deep" / "down")
    assert list(await second.entries_since(0)) == [entry(1)]
    await second.append(entry(2))
    assert list(await first.entries_since(1)) == [entry(2)]


async def test_another_directory_is_another_store(tmp_path: Path) -> None:
    assert (await local(tmp_path / "a")).id != (await local(tmp_path / "b")).id


async def test_a_long_log_is_read_whole(tmp_path: Path) -> None:
    store = await local(tmp_path)
    for revision in range(1, 1202):
        (tmp_path / "log" / numbered(revision)).write_bytes(write_entry(entry(revision)))
    found = await store.entries_since(0)
    assert [one.revision for one in found] == list(range(1, 1202))
    assert len(await store.entries_since(201)) == 1000


async def test_two_snapshots_are_kept(tmp_path: Path) -> None:
    store = await local(tmp_path)
    for revision in (1, 2, 3):
        await store.append(entry(revision))
        await store.save_snapshot(revision, b"content")
    assert sorted(os.listdir(tmp_path / "snapshot")) == [numbered(2), numbered(3)]


async def test_temporary_files_of_the_killed_are_swept_and_fresh_ones_left(tmp_path: Path) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    for folder in (".", "log", "snapshot"):
        for name, age_s in ((".put-0123.tmp", 3600), (".put-4567.tmp", 1)):
            one = tmp_path / folder / name
            one.write_bytes(b'{"torn')
            made = one.stat().st_mtime - age_s
            os.utime(one, (made, made))
    again = await local(tmp_path)
    assert [one for one in _names(tmp_path) if one.endswith(".tmp")] == [
        ".put-4567.tmp",
        "log/.put-4567.tmp",
        "snapshot/.put-4567.tmp",
    ]
    assert list(await again.entries_since(0)) == [entry(1)]


# -- the order in which things become durable

Calls = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Every call that makes a file durable or visible, as (call, what), in the order in which they returned."""
    made: Calls = []

    def note(name: str, said: Callable[..., str]) -> None:
        real = getattr(os, name)

        def noted(*given: Any, **named: Any) -> Any:
            answer = real(*given, **named)
            made.append((name, said(*given)))
            return answer

        monkeypatch.setattr(os, name, noted)

    def opened(descriptor: int) -> str:
        found = os.fstat(descriptor)
        if not stat.S_ISDIR(found.st_mode):
            return "a file"
        (path,) = [one for one in (tmp_path, *tmp_path.rglob("*")) if os.path.samestat(one.stat(), found)]
        return str(path.relative_to(tmp_path))

    def target(_: object, path: Path) -> str:
        return str(Path(path).relative_to(tmp_path))

    note("fsync", opened)
    note("mkdir", lambda path, _: str(Path(path).relative_to(tmp_path)))
    for name in ("link", "rename", "replace"):
        note(name, target)
    return made


async def test_an_entry_is_durable_before_it_is_visible_and_its_name_before_it_is_acknowledged(
    tmp_path: Path, calls: Calls
) -> None:
    store = await local(tmp_path)
    calls.clear()
    await store.append(entry(1))
    assert calls == [("fsync", "a file"), ("link", "log/0000000001.json"), ("fsync", "log")]


async def test_a_snapshot_is_durable_before_it_replaces_another(tmp_path: Path, calls: Calls) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    calls.clear()
    await store.save_snapshot(1, b"content")
    assert calls == [("fsync", "a file"), ("replace", "snapshot/0000000001.json"), ("fsync", "snapshot")]


async def test_new_folders_are_durable_in_their_parents_before_anything_is_put_into_them(
    tmp_path: Path, calls: Calls
) -> None:
    await local(tmp_path / "a" / "b")
    assert calls[:9] == [
        ("mkdir", "a"),
        ("fsync", "."),
        ("mkdir", "a/b"),
        ("fsync", "a"),
        ("mkdir", "a/b/log"),
        ("fsync", "a/b"),
        ("mkdir", "a/b/snapshot"),
        ("fsync", "a/b"),
        ("fsync", "a/b"),
    ]
    assert calls[-3:] == [("fsync", "a file"), ("link", "a/b/id"), ("fsync", "a/b")]


async def test_what_another_process_put_is_made_durable_before_it_is_returned(tmp_path: Path, calls: Calls) -> None:
    store, other = await local(tmp_path), await local(tmp_path)
    await other.append(entry(1))
    calls.clear()
    assert await store.entries_since(0)
    assert calls == [("fsync", "log")]
    calls.clear()
    assert not await store.entries_since(1)
    assert calls == []


# -- file systems that cannot do everything


def _without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


async def test_without_hard_links_an_entry_is_renamed_into_place_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    _without_links(monkeypatch)
    store = await local(tmp_path)
    calls.clear()
    await store.append(entry(1, "first"))
    assert calls == [("fsync", "a file"), ("rename", "log/0000000001.json"), ("fsync", "log")]
    with pytest.raises(RevisionTaken):
        await store.append(entry(1, "second"))
    assert not files.put_if_absent(tmp_path / "log" / numbered(1), b"whoever did not look first")
    assert [one.write_id for one in await store.entries_since(0)] == ["first"]
    assert os.listdir(tmp_path / "log") == [numbered(1)]


async def test_a_file_system_that_overwrites_is_refused_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", os.replace)
    with pytest.raises(ConfigurationError) as caught:
        await local(tmp_path)
    assert str(tmp_path / "probe") in str(caught.value)


async def test_a_file_system_whose_locks_do_not_exclude_is_refused_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    with pytest.raises(ConfigurationError) as caught:
        await local(tmp_path)
    assert str(tmp_path / "lock") in str(caught.value)
