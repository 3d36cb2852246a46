"""A shared store at its services: what lies where, who wins, and what is refused rather than believed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from subprocess import PIPE

import pytest
import trio

from sie.catalog.entry import write_entry
from sie.errors import OutcomeUnknown, RevisionTaken, StoreCorrupt, StoreUnavailable
from sie.store.bucket import Bucket
from sie.store.legacy import LegacyStore
from sie.store.objects import ObjectStore
from tests.ports import free_port
from tests.store.samples import ROOT, entry
from tests.store.shared import Shared

_SECOND = "log/0000000002.json"


async def _three(shared: Shared) -> ObjectStore:
    store = await shared.open()
    for revision in (1, 2, 3):
        await store.append(entry(revision))
    return store


# -- what lies where


async def test_it_lies_in_the_bucket_as_it_would_in_a_directory(shared: Shared) -> None:
    store = await _three(shared)
    for revision in (1, 2, 3):
        await store.save_snapshot(revision, f"fold of {revision}".encode())
    bucket = shared.bucket()
    assert bucket.get("id") == store.id.encode() + b"\n"
    assert sorted(bucket.names("log")) == ["0000000001.json", "0000000002.json", "0000000003.json"]
    assert bucket.get(_SECOND) == write_entry(entry(2))
    assert sorted(bucket.names("snapshot")) == ["0000000002.json", "0000000003.json"]
    assert store.place == shared.url
    bucket.close()
    await store.aclose()


async def test_a_store_is_known_again_and_another_place_is_another_store(shared: Shared) -> None:
    first, again, other = await shared.open(), await shared.open(), await shared.open(url=f"{shared.url}/below")
    assert first.id == again.id != other.id
    await first.append(entry(1))
    assert list(await again.entries_since(0)) == [entry(1)]
    assert list(await other.entries_since(0)) == []
    for store in (first, again, other):
        await store.aclose()


async def test_many_who_make_a_store_at_once_make_one(shared: Shared) -> None:
    stores: list[ObjectStore] = []

    async def open_one() -> None:
        stores.append(await shared.open())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(open_one)
    assert len({store.id for store in stores}) == 1
    for store in stores:
        await store.aclose()


async def test_a_tail_longer_than_any_window_is_read_whole_and_in_order(shared: Shared) -> None:
    store = await shared.open()
    entries = [entry(revision) for revision in range(1, 41)]
    for one in entries:
        await store.append(one)
    for known in (0, 1, 37, 38, 39, 40):
        assert list(await store.entries_since(known)) == entries[known:]
    await store.aclose()


# -- who wins


async def test_of_8_stores_that_put_the_same_number_exactly_one_wins_each_time(shared: Shared) -> None:
    stores = [await shared.open() for _ in range(8)]
    winners: list[tuple[int, str]] = []

    async def race(store: ObjectStore, revision: int, write_id: str) -> None:
        try:
            await store.append(entry(revision, write_id))
            winners.append((revision, write_id))
        except RevisionTaken:
            pass

    for revision in range(1, 6):
        async with trio.open_nursery() as nursery:
            for n, store in enumerate(stores):
                nursery.start_soon(race, store, revision, f"write-{n}")
    assert [(one.revision, one.write_id) for one in await stores[0].entries_since(0)] == winners
    assert [revision for revision, _ in winners] == [1, 2, 3, 4, 5]
    for store in stores:
        await store.aclose()


def _start_racer(url: str, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.racer", url, name, "20"]
    return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT)


async def test_of_4_processes_that_want_the_same_20_numbers_each_is_won_once(shared: Shared) -> None:
    processes = [_start_racer(shared.url, f"racer-{n}") for n in range(4)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await trio.to_thread.run_sync(process.stdout.readline) == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        won: list[str] = []
        for process in processes:
            assert process.stdout is not None
            won += (await trio.to_thread.run_sync(process.stdout.read)).split()
            assert await trio.to_thread.run_sync(process.wait) == 0
    finally:
        for process in processes:
            with process:
                process.kill()
    store = await shared.open()
    log = [one.write_id for one in await store.entries_since(0)]
    assert sorted(won) == sorted(log)
    assert [write_id.rpartition("-")[2] for write_id in log] == [str(revision) for revision in range(1, 21)]
    await store.aclose()


# -- what has been damaged


def _torn(content: bytes) -> bytes:
    return content[:-10]


def _of_a_later_format(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "format": 2}).encode()


@pytest.mark.parametrize(
    "damage",
    [_torn, lambda _: b"", lambda _: b'{"hello": "world"}', lambda _: write_entry(entry(7)), _of_a_later_format],
)
async def test_a_damaged_entry_is_refused_by_name_and_never_skipped(
    s3: Shared, damage: Callable[[bytes], bytes]
) -> None:
    store = await _three(s3)
    bucket = s3.bucket()
    bucket.put(_SECOND, damage(bucket.get(_SECOND) or b""))
    for ask in (partial(store.entries_since, 0), partial(store.entries_since, 1)):
        with pytest.raises(StoreCorrupt) as caught:
            await ask()
        assert caught.value.fields["name"] == f"{s3.url}/{_SECOND}"
    bucket.close()
    await store.aclose()


async def test_an_id_that_is_torn_or_gone_from_beside_a_log_is_refused_at_open(shared: Shared) -> None:
    await (await _three(shared)).aclose()
    bucket = shared.bucket()
    for damage in (partial(bucket.put, "id", b"0123"), partial(bucket.delete, "id")):
        damage()
        with pytest.raises(StoreCorrupt) as caught:
            await shared.open()
        assert caught.value.fields["name"] == f"{shared.url}/id"
    bucket.close()


async def test_a_bad_snapshot_is_named_in_a_warning_and_the_one_before_it_is_used(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    store, bucket = await _three(shared), shared.bucket()
    await store.save_snapshot(2, b"fold of 2")
    await store.save_snapshot(3, b"fold of 3")
    bucket.put("snapshot/0000000003.json", b"torn")
    with caplog.at_level(logging.WARNING):
        assert await store.load_snapshot() == b"fold of 2"
    assert f"{shared.url}/snapshot/0000000003.json is torn" in caplog.text
    bucket.put("snapshot/0000000003.json", b'{"format":2}\n')
    with pytest.raises(StoreCorrupt):
        await store.load_snapshot()
    bucket.close()
    await store.aclose()


# -- what happened to it under a running process


def _wipe(bucket: Bucket) -> None:
    bucket.delete("id")
    for folder in ("log", "snapshot"):
        for name in bucket.names(folder):
            bucket.delete(f"{folder}/{name}")


def _replace(bucket: Bucket) -> None:
    """By one that has grown further than the old one had."""
    _wipe(bucket)
    bucket.put("id", b"f" * 32)
    for revision in range(1, 6):
        bucket.put(f"log/{revision:010d}.json", write_entry(entry(revision, f"new-{revision}")))


def _set_back(bucket: Bucket) -> None:
    """To a backup of it."""
    bucket.delete("log/0000000003.json")


def _set_back_and_go_on(bucket: Bucket) -> None:
    bucket.put("log/0000000003.json", write_entry(entry(3, "another's, on the backup")))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_wipe, "id"),
        (_replace, "id"),
        (_set_back, "log/0000000003.json"),
        (_set_back_and_go_on, "log/0000000003.json"),
    ],
)
async def test_a_store_that_was_emptied_replaced_or_set_back_is_noticed_and_never_written_to(
    shared: Shared, change: Callable[[Bucket], None], name: str
) -> None:
    store, bucket = await _three(shared), shared.bucket()
    change(bucket)
    before = {folder: bucket.names(folder) for folder in ("log", "snapshot")}
    asks: list[Callable[[], object]] = [
        partial(store.append, entry(4)),
        partial(store.entries_since, 3),
        partial(store.save_snapshot, 3, b"a fold of what is no longer there"),
    ]
    for ask in asks:
        with pytest.raises(StoreCorrupt) as caught:
            await ask()  # type: ignore[misc]
        assert not isinstance(caught.value, OutcomeUnknown)
        assert caught.value.fields["name"] == f"{shared.url}/{name}"
    assert {folder: bucket.names(folder) for folder in ("log", "snapshot")} == before
    bucket.close()
    await store.aclose()


async def test_a_bucket_that_vanishes_is_an_error_and_not_an_empty_log(shared: Shared) -> None:
    """Google's service says of an object in a missing bucket just that the object is missing."""
    store = await _three(shared)
    gone = shared.bucket(f"{shared.scheme}://nobody-made-this/prefix")
    store._bucket = gone
    with pytest.raises(StoreUnavailable):
        await store.entries_since(3)
    with pytest.raises(StoreUnavailable):
        await store.append(entry(4))
    with pytest.raises(StoreUnavailable):
        await store.load_snapshot()
    with pytest.raises(StoreUnavailable):
        await store.load_legacy()
    await store.aclose()


# -- what cannot be reached


@pytest.mark.parametrize("shared", ["s3", "gcs"], indirect=True)  # SeaweedFS makes a bucket that is missing
async def test_a_missing_bucket_is_said_with_its_cure(shared: Shared) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await shared.open(url=f"{shared.scheme}://nobody-made-this/prefix")
    assert f"{shared.scheme}://nobody-made-this/prefix" in caught.value.message
    assert "make the bucket, or correct SIE_CONFIG_STORE_DIR" in caught.value.message
    assert caught.value.fields == {}


async def test_a_service_that_is_away_is_unavailable_and_nothing_is_unknown(shared: Shared) -> None:
    store = await shared.open()
    shared.lead_to(free_port())
    with pytest.raises(StoreUnavailable) as caught:
        await shared.open()
    assert shared.url in caught.value.message
    away = shared.bucket()
    store._bucket = away
    with pytest.raises(StoreUnavailable) as caught:
        await store.append(entry(1))
    assert not isinstance(caught.value, OutcomeUnknown)
    await store.aclose()


async def test_no_credentials_are_said_so(s3: Shared) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        s3.monkeypatch.delenv(name)
    with pytest.raises(StoreUnavailable) as caught:
        await s3.open()
    assert "Unable to locate credentials" in caught.value.message


async def test_no_google_credentials_are_said_so(gcs: Shared, tmp_path: object) -> None:
    gcs.monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    gcs.monkeypatch.setenv("HOME", str(tmp_path))
    gcs.monkeypatch.setenv("NO_GCE_CHECK", "true")  # no machine of Google's is asked for an identity
    with pytest.raises(StoreUnavailable) as caught:
        await gcs.open()
    assert "credentials were not found" in caught.value.message


@pytest.mark.slow
async def test_wrong_credentials_are_said_with_their_cure(weed: Shared) -> None:
    await (await weed.open()).aclose()
    for name, said in (("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")):
        weed.monkeypatch.setenv(name, "wrong")
        with pytest.raises(StoreUnavailable) as caught:
            await weed.open()
        assert said in caught.value.message
        assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in caught.value.message


# -- what SIE v0.1.10 left


async def test_a_store_of_v0_1_10_is_read_and_left_as_it_was(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    bucket = shared.bucket()
    documents = tuple((f"org/model-{n:02d}", f"sie_id: org/model-{n:02d}\n".encode()) for n in range(20))
    for name, content in documents:
        bucket.put(f"models/{name.replace('/', '__')}.yaml", content)
    bucket.put("models/README.md", b"no model")
    bucket.put("models/below/a.yaml", b"none either")
    store = await shared.open()
    assert await store.load_legacy() == LegacyStore(epoch=0, documents=documents)
    for text, epoch in ((b"12", 12), (b" 3\n", 3), (b"", 0)):
        bucket.put("epoch", text)
        assert await store.load_legacy() == LegacyStore(epoch=epoch, documents=documents)
    assert caplog.text == ""
    bucket.put("epoch", b"garbage")
    with caplog.at_level(logging.WARNING):
        assert await store.load_legacy() == LegacyStore(epoch=0, documents=documents)
    assert f"{shared.url}/epoch" in caplog.text
    assert bucket.get("epoch") == b"garbage"
    assert len(bucket.names("models")) == 21
    bucket.close()
    await store.aclose()
