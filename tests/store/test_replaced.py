"""A store that is replaced under a running router: what lies there now is adopted, what is gone is not served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sie.bus.local import LocalBus
from sie.catalog.change import ChangeLimits, read_change
from sie.catalog.entry import Entry, write_entry
from sie.errors import StoreCorrupt, StoreReplaced, StoreUnavailable
from sie.files import load_catalog
from sie.flow import Order, fulfil
from sie.router.head import Head
from sie.router.watch import Watch
from sie.settings import Settings
from sie.store.bucket import Bucket
from sie.store.contract import Store
from sie.store.layout import ID, LOG, SNAPSHOT, numbered
from sie.store.memory import MemoryStore
from sie.store.open import open_store
from tests.store.samples import entry
from tests.store.shared import Shared

ANOTHER = "0123456789abcdef" * 2
ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"


def head_of(store: Store, settings: Settings) -> Head:
    async def reopen() -> Store:
        return await open_store(settings)

    return Head(
        load_catalog(settings, store.origin)[0],
        store,
        open_store=reopen,
        nudge=lambda: None,
        watch=Watch(settings),
        limits=ChangeLimits.of(settings),
        settings=settings,
        router_id="router",
    )


def empty(bucket: Bucket, *, with_id: bool) -> None:
    for folder in (LOG, SNAPSHOT):
        for name in bucket.names(folder):
            bucket.delete(f"{folder}/{name.rpartition('/')[2]}")
    if with_id:
        bucket.delete(ID)


async def added(head: Head, *names: str) -> None:
    for name in names:
        body = f"sie_id: {name}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n".encode()
        order = Order(change=read_change(body, head.limits), key=f"key of {name}")
        commit = await fulfil(order, head=head, bus=LocalBus(), deadline=1e12)
        assert commit.status == 201


def own_models(head: Head) -> set[str]:
    return {one.sie_id for one in head.catalog.logged()}


@pytest.mark.parametrize("way", ["read", "post"])
async def test_a_bucket_begun_anew_by_another_router_is_taken_up_as_it_is_now(shared: Shared, way: str) -> None:
    settings = Settings(store_dir=shared.url, store_timeout_s=30.0)
    head = head_of(await shared.open(), settings)
    await added(head, "old/one", "old/two")
    first = head.store_id
    empty(shared.bucket(), with_id=True)
    other = head_of(await shared.open(), settings)
    await added(other, "new/one")
    assert other.store_id != first
    if way == "read":
        await head.read_on()
        assert (head.store_id, head.revision, own_models(head)) == (other.store_id, 1, {"new/one"})
        assert head.catalog.find("old/one") is None
    await added(head, "old/one")  # its Idempotency-Key was of the old store
    await other.read_on()
    assert own_models(other) == own_models(head) == {"new/one", "old/one"}
    assert (head.trouble, head.folded, head.catalog.own) == (None, True, other.store_id)
    assert head.catalog.digest("default") == other.catalog.digest("default")
    await head.aclose()
    await other.aclose()


async def test_a_bucket_that_is_emptied_and_not_begun_anew_is_not_taken_for_a_new_store(shared: Shared) -> None:
    settings = Settings(store_dir=shared.url, store_timeout_s=30.0)
    head = head_of(await shared.open(), settings)
    await added(head, "old/one")
    empty(shared.bucket(), with_id=True)
    with pytest.raises(StoreCorrupt) as gone:
        await head.read_on()
    assert not isinstance(gone.value, StoreReplaced)
    assert own_models(head) == {"old/one"}  # it serves on
    assert head.trouble is not None
    assert shared.bucket().get(ID) is None  # and begins nothing
    await head.aclose()


async def test_a_snapshot_of_the_new_store_is_read_too(shared: Shared) -> None:
    settings = Settings(store_dir=shared.url, store_timeout_s=30.0)
    head = head_of(await shared.open(), settings)
    await added(head, "old/one", "old/two")
    await head.save_snapshot()
    empty(shared.bucket(), with_id=True)
    other = head_of(await shared.open(), settings)
    await added(other, "new/one", "new/two", "new/three")
    await other.save_snapshot()
    await head.read_on()
    assert (head.revision, own_models(head)) == (3, {"new/one", "new/two", "new/three"})
    await head.aclose()
    await other.aclose()


def replace_directory(base: Path, *, entries: int) -> None:
    """As a backup put back in place, or a volume mounted over it."""
    for folder in (LOG, SNAPSHOT):
        for path in (base / folder).glob("*"):
            path.unlink()
    (base / ID).write_text(ANOTHER + "\n")
    for number in range(1, entries + 1):
        (base / LOG / numbered(number)).write_bytes(write_entry(entry(number)))


@pytest.mark.parametrize("entries", [0, 1, 5])
async def test_a_directory_replaced_under_a_router_is_taken_up_as_it_is_now(tmp_path: Path, entries: int) -> None:
    settings = Settings(store_dir=str(tmp_path / "store"))
    head = head_of(await open_store(settings), settings)
    await added(head, "old/one", "old/two", "old/three")
    replace_directory(tmp_path / "store", entries=entries)
    await head.read_on()
    assert (head.store_id, head.revision, head.trouble) == (ANOTHER, entries, None)
    assert "old/one" not in own_models(head)
    await added(head, "old/one")
    assert "old/one" in own_models(head)
    await head.aclose()
    again = head_of(await open_store(settings), settings)
    await again.read_on()
    assert own_models(again) == own_models(head)
    await again.aclose()


@pytest.mark.parametrize("torn", ["", "garbage", ANOTHER[:-1]])
async def test_a_directory_whose_id_is_torn_is_not_taken_for_another_store(tmp_path: Path, torn: str) -> None:
    settings = Settings(store_dir=str(tmp_path / "store"))
    head = head_of(await open_store(settings), settings)
    await added(head, "old/one")
    (tmp_path / "store" / ID).write_text(torn)
    with pytest.raises(StoreCorrupt) as fault:
        await head.read_on()
    assert not isinstance(fault.value, StoreReplaced)
    assert own_models(head) == {"old/one"}
    await head.aclose()


async def test_a_new_store_that_cannot_be_opened_yet_is_a_503_and_tried_again() -> None:
    class Replaced(MemoryStore):
        async def entries_since(self, revision: int) -> Sequence[Entry]:
            raise StoreReplaced("another store's")

    new, away = MemoryStore(now=lambda: 0), [True]
    new.durable = True
    new._entries.append(entry(1))
    head = head_of(Replaced(now=lambda: 0), Settings())

    async def reopen() -> Store:
        if away[0]:
            raise StoreUnavailable("the disk is away")
        return new

    head._open_store = reopen
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await head.read_on()
        assert head.trouble == "the disk is away"
    away[0] = False
    await head.read_on()
    assert (head.store_id, head.revision, head.trouble) == (new.id, 1, None)
    assert own_models(head) == {"org/model-1"}
