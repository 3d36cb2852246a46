"""Stores: a reader never sees that a call was cancelled; an append that was begun is answered, or may have happened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from sie.catalog.entry import Entry
from sie.settings import Settings
from sie.store.append import append_surely
from sie.store.contract import Store
from sie.store.legacy import LegacyStore
from sie.store.local import open_local
from sie.store.memory import MemoryStore
from sie.store.objects import ObjectStore, open_objects
from sie.store.open import open_store, open_to_read
from sie.testing.steps import Round, Trial
from sie.testing.store import FaultyStore, Silence
from sie.turns import in_turns
from tests.steps.buckets import MemoryBucket
from tests.steps.table import Clock, Place, case
from tests.store.samples import entry

SETTINGS = Settings(store_timeout_s=60, snapshot_timeout_s=60)


async def memory(place: Place) -> Store:
    await trio.lowlevel.checkpoint()
    return MemoryStore(now=lambda: 0.0)


async def local(place: Place) -> Store:
    folder = place.folder()
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "org__old.yaml").write_bytes(b"sie_id: org/old")
    return await open_local(folder, SETTINGS)


async def objects(place: Place) -> Store:
    bucket = MemoryBucket()
    bucket.put("models/org__old.yaml", b"sie_id: org/old")
    return await open_objects(lambda: bucket, bucket.place, SETTINGS)


KINDS: dict[str, Callable[[Place], Awaitable[Store]]] = {
    "sie.store.memory:MemoryStore": memory,
    "sie.store.local:LocalStore": local,
    "sie.store.objects:ObjectStore": objects,
}
OLD = LegacyStore(epoch=0, documents=(("org/old", b"sie_id: org/old"),))


async def filled(make: Callable[[Place], Awaitable[Store]], place: Place) -> tuple[Store, Sequence[Entry]]:
    store = await make(place)
    entries = [entry(1), entry(2)]
    for one in entries:
        await store.append(one)
    await store.save_snapshot(1, b"the first")
    return store, entries


def _cases(kind: str, make: Callable[[Place], Awaitable[Store]]) -> None:
    clock: Clock = "jumps" if make is memory else "real"

    @case(f"{kind}.append", clock=clock, label=f"{kind}.append")
    @asynccontextmanager
    async def append(place: Place) -> AsyncIterator[Trial]:
        store, entries = await filled(make, place)

        async def check(done: Round) -> None:
            """Cancelled before it began: nothing. Begun: answered, and Cancelled comes later, if at all."""
            assert list(await store.entries_since(0)) == [*entries, *([entry(3)] if done.finished else [])]

        yield Trial(act=lambda: store.append(entry(3)), check=check)
        await store.aclose()

    reads: dict[str, tuple[Callable[[Store], Awaitable[object]], object]] = {
        "entries_since": (lambda store: store.entries_since(0), [entry(1), entry(2)]),
        "load_snapshot": (lambda store: store.load_snapshot(), b"the first"),
        "load_legacy": (lambda store: store.load_legacy(), None if make is memory else OLD),
    }
    for method, (read, found) in reads.items():
        _reading(f"{kind}.{method}", make, read, found)

    @case(f"{kind}.save_snapshot", clock=clock, label=f"{kind}.save_snapshot")
    @asynccontextmanager
    async def save_snapshot(place: Place) -> AsyncIterator[Trial]:
        store, entries = await filled(make, place)

        async def check(done: Round) -> None:
            """The old one, or the new one whole."""
            kept = await store.load_snapshot()
            assert kept == b"the second" if done.finished else kept in (b"the first", b"the second")
            if make is memory and not done.finished:
                assert kept == b"the first"
            assert list(await store.entries_since(0)) == list(entries)

        yield Trial(act=lambda: store.save_snapshot(2, b"the second"), check=check)
        await store.aclose()

    @case(f"{kind}.aclose", clock=clock, label=f"{kind}.aclose")
    @asynccontextmanager
    async def aclose(place: Place) -> AsyncIterator[Trial]:
        store, _ = await filled(make, place)

        async def check(done: Round) -> None:
            await store.aclose()

        yield Trial(act=store.aclose, check=check)


def _reading(
    name: str, make: Callable[[Place], Awaitable[Store]], read: Callable[[Store], Awaitable[object]], found: object
) -> None:
    @case(name, clock="jumps" if make is memory else "real", label=name)
    @asynccontextmanager
    async def reading(place: Place) -> AsyncIterator[Trial]:
        store, _ = await filled(make, place)

        async def check(done: Round) -> None:
            assert await read(store) == found
            assert not done.finished or done.value == found
            await store.append(entry(3))

        yield Trial(act=lambda: read(store), check=check)
        await store.aclose()


for _kind, _make in KINDS.items():
    _cases(_kind, _make)


# -- opening: what was made by one that was cancelled is completed by the next


@case("sie.store.local:open_local", "sie.store.open:open_store", clock="real")
@asynccontextmanager
async def opening_a_directory(place: Place) -> AsyncIterator[Trial]:
    settings = Settings(store_dir=str(place.folder()), store_timeout_s=60)

    async def check(done: Round) -> None:
        one, two = await open_store(settings), await open_store(settings)
        assert one.id == two.id
        assert not done.finished or (isinstance(done.value, type(one)) and done.value.id == one.id)
        await one.append(entry(1))
        assert list(await two.entries_since(0)) == [entry(1)]

    yield Trial(act=lambda: open_store(settings), check=check)


@case("sie.store.objects:open_objects", "sie.store.open:open_to_read", clock="real")
@asynccontextmanager
async def opening_a_bucket(place: Place) -> AsyncIterator[Trial]:
    bucket = MemoryBucket()
    settings = Settings(store_dir="s3://some/where", store_timeout_s=60)
    place.monkeypatch.setattr("sie.store.open.connect", lambda address, timeout_s: bucket)

    async def act() -> tuple[str, str]:
        return (await open_store(settings)).id, (await open_to_read(settings)).id

    async def check(done: Round) -> None:
        written, read = await act()
        assert written == read
        assert not done.finished or done.value == (written, read)
        store = await open_store(settings)
        assert isinstance(store, ObjectStore)
        await store.append(entry(1))

    yield Trial(act=act, check=check)


# -- appending surely


def _appending(label: str, *plan: Silence) -> None:
    @case("sie.store.append:append_surely", label=f"append_surely {label}")
    @asynccontextmanager
    async def surely(place: Place) -> AsyncIterator[Trial]:
        inner = MemoryStore(now=lambda: 0.0)
        store = FaultyStore(inner, appends=plan)

        async def check(done: Round) -> None:
            there = list(await inner.entries_since(0))
            assert there == [entry(1)] if done.finished else there in ([], [entry(1)])
            await append_surely(inner, entry(1), deadline=trio.current_time() + 5)  # the same again is certain
            assert list(await inner.entries_since(0)) == [entry(1)]

        yield Trial(act=lambda: append_surely(store, entry(1), deadline=trio.current_time() + 5), check=check)


_appending("at once")
_appending("after silence that landed", Silence(landed=True))
_appending("after silence that did not", Silence(landed=False), Silence(landed=False))


@case("sie.turns:in_turns")
@asynccontextmanager
async def turns(place: Place) -> AsyncIterator[Trial]:
    place.monkeypatch.setattr("sie.turns._TURN_S", 0)
    did: list[int] = []

    async def check(done: Round) -> None:
        """Between two items."""
        assert did == list(range(5))[: len(did)]
        assert not done.finished or len(did) == 5

    yield Trial(act=lambda: in_turns(range(5), did.append), check=check)
