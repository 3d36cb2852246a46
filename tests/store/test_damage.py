"""Nothing damaged is skipped, and nothing is refused without its name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from sie.catalog.entry import write_entry
from sie.errors import StoreCorrupt
from sie.store.check import check_store, export_store
from sie.store.layout import numbered
from tests.store.samples import entry, local

Damage = Callable[[Path], None]


async def _three(base: Path) -> None:
    store = await local(base)
    for revision in (1, 2, 3):
        await store.append(entry(revision))
        await store.save_snapshot(revision, f"fold of {revision}".encode())


def _rewrite(name: str, content: Callable[[bytes], bytes]) -> Damage:
    def damage(base: Path) -> None:
        (base / name).write_bytes(content((base / name).read_bytes()))

    return damage


def _remove(name: str) -> Damage:
    return lambda base: (base / name).unlink()


def _add(name: str, content: bytes = b"") -> Damage:
    def damage(base: Path) -> None:
        (base / name).write_bytes(content)

    return damage


def _of_format(number: int) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), "format": number}).encode()


_SECOND = "log/0000000002.json"

# What is wrong, how it came about, and the file that an error must name.
_SEEN_BY_READING: list[tuple[str, Damage, str]] = [
    ("torn", _rewrite(_SECOND, lambda content: content[:-10]), _SECOND),
    ("empty", _rewrite(_SECOND, lambda _: b""), _SECOND),
    ("zeroes", _rewrite(_SECOND, lambda content: bytes(len(content))), _SECOND),
    ("not ours", _rewrite(_SECOND, lambda _: b'{"hello": "world"}'), _SECOND),
    ("a list", _rewrite(_SECOND, lambda _: b"[1, 2]"), _SECOND),
    ("nested beyond reason", _rewrite(_SECOND, lambda _: b"[" * 100_000), _SECOND),
    (
        "an infinite number",
        _rewrite(_SECOND, lambda content: content.replace(b'"revision":2', b'"revision":1e999')),
        _SECOND,
    ),
    ("not UTF-8", _rewrite(_SECOND, lambda content: content.replace(b"org", b"\xff\xfe")), _SECOND),
    ("renumbered", _rewrite(_SECOND, lambda _: write_entry(entry(7))), _SECOND),
    ("of a later format", _rewrite(_SECOND, _of_format(2)), _SECOND),
]
_SEEN_BY_LISTING: list[tuple[str, Damage, str]] = [
    ("missing", _remove(_SECOND), _SECOND),
    ("missing at the start", _remove("log/0000000001.json"), "log/0000000001.json"),
    ("missing at the end, with a snapshot of it", _remove("log/0000000003.json"), "log/0000000003.json"),
    ("far beyond the head", _add("log/9999999999.json"), "log/0000000004.json"),
    ("foreign", _add("log/notes.txt"), "log/notes.txt"),
    ("hidden", _add("log/.DS_Store"), "log/.DS_Store"),
    ("wrongly padded", _add("log/4.json"), "log/4.json"),
    ("number zero", _add("log/0000000000.json"), "log/0000000000.json"),
    ("id torn", _rewrite("id", lambda content: content[:5]), "id"),
    ("id empty", _rewrite("id", lambda _: b""), "id"),
    ("id missing beside a log", _remove("id"), "id"),
]


@pytest.mark.parametrize(
    ("damage", "name"), [one[1:] for one in _SEEN_BY_LISTING], ids=[one[0] for one in _SEEN_BY_LISTING]
)
async def test_what_a_listing_shows_is_refused_at_open(tmp_path: Path, damage: Damage, name: str) -> None:
    await _three(tmp_path)
    damage(tmp_path)
    with pytest.raises(StoreCorrupt) as caught:
        await local(tmp_path)
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.fields["name"] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("damage", "name"), [one[1:] for one in _SEEN_BY_READING], ids=[one[0] for one in _SEEN_BY_READING]
)
async def test_what_reading_shows_is_refused_by_whoever_reads_it(tmp_path: Path, damage: Damage, name: str) -> None:
    await _three(tmp_path)
    damage(tmp_path)
    store = await local(tmp_path)
    with pytest.raises(StoreCorrupt) as caught:
        await store.entries_since(0)
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.fields["name"] == str(tmp_path / name)
    with pytest.raises(StoreCorrupt):
        list(export_store(tmp_path))
    assert list(await store.entries_since(2)) == [entry(3)]


@pytest.mark.parametrize(
    ("damage", "name"),
    [one[1:] for one in (*_SEEN_BY_LISTING, *_SEEN_BY_READING)],
    ids=[one[0] for one in (*_SEEN_BY_LISTING, *_SEEN_BY_READING)],
)
async def test_a_check_names_it(tmp_path: Path, damage: Damage, name: str) -> None:
    await _three(tmp_path)
    damage(tmp_path)
    report = check_store(tmp_path)
    assert not report.ok
    assert [str(tmp_path / name) in problem for problem in report.problems].count(True) == 1


async def test_a_check_names_everything_and_not_only_the_first(tmp_path: Path) -> None:
    store = await local(tmp_path)
    for revision in range(1, 10):
        await store.append(entry(revision))
    for damage in (
        _rewrite("log/0000000001.json", lambda content: content[:-1]),
        _remove("log/0000000003.json"),
        _remove("log/0000000005.json"),
        _remove("log/0000000006.json"),
        _rewrite("log/0000000008.json", _of_format(9)),
        _add("log/a"),
        _add("log/b"),
        _add("id", b"?"),
        _add("snapshot/0000000007.json", b"torn"),
    ):
        damage(tmp_path)
    report = check_store(tmp_path)
    assert (report.entries, report.head, report.snapshots) == (4, 9, 0)
    assert len(report.problems) == 8
    for name in ("0000000003", "0000000005", "log/a", "log/b", "id", "0000000001", "0000000008", "snapshot/0000000007"):
        assert any(name in problem for problem in report.problems), name
    assert any("0000000005.json (and all up to 0000000006.json)" in problem for problem in report.problems)


# -- snapshots are derived: what is wrong with one costs time, not truth


@pytest.mark.parametrize(
    "damage",
    [
        _rewrite("snapshot/0000000003.json", lambda content: content[:-1]),
        _rewrite("snapshot/0000000003.json", lambda content: content.replace(b"fold", b"cold")),
        _rewrite("snapshot/0000000003.json", lambda _: b""),
        _rewrite("snapshot/0000000003.json", lambda _: b"\x00" * 100),
        lambda base: (base / "snapshot" / numbered(2)).replace(base / "snapshot" / numbered(3)),
    ],
    ids=["torn", "altered", "empty", "zeroes", "renumbered"],
)
async def test_a_bad_snapshot_is_named_in_a_warning_and_an_older_one_or_the_log_is_used(
    tmp_path: Path, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    await _three(tmp_path)
    damage(tmp_path)
    store = await local(tmp_path)
    left = (tmp_path / "snapshot" / numbered(2)).exists()
    with caplog.at_level(logging.WARNING):
        assert await store.load_snapshot() == (b"fold of 2" if left else None)
    assert str(tmp_path / "snapshot/0000000003.json") in caplog.text
    assert len(await store.entries_since(0)) == 3
    assert any("snapshot/0000000003.json" in problem for problem in check_store(tmp_path).problems)


async def test_a_snapshot_that_cannot_be_read_is_skipped_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _three(tmp_path)
    store = await local(tmp_path)
    (tmp_path / "snapshot" / numbered(3)).unlink()
    (tmp_path / "snapshot" / numbered(3)).mkdir()
    with caplog.at_level(logging.WARNING):
        assert await store.load_snapshot() == b"fold of 2"
    assert str(tmp_path / "snapshot/0000000003.json") in caplog.text


async def test_a_snapshot_of_a_later_format_stops_the_start_by_name(tmp_path: Path) -> None:
    await _three(tmp_path)
    _add("snapshot/0000000003.json", b'{"format":2}\n')(tmp_path)
    store = await local(tmp_path)
    with pytest.raises(StoreCorrupt) as caught:
        await store.load_snapshot()
    assert str(tmp_path / "snapshot/0000000003.json") in caught.value.message
