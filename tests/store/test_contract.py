"""What every store promises, asked of every store: this is the documentation of `Store`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from sie.errors import RevisionTaken, SieError
from sie.store.contract import Store
from sie.testing.store import FaultyStore
from tests.simulation.edges import simulated_store
from tests.store.samples import entry, local, memory
from tests.store.shared import Shared

_KINDS = ["memory", "local", "s3", "gcs", pytest.param("weed", marks=pytest.mark.slow)]


@pytest.fixture(params=[*_KINDS, "memory, no faults", "local, no faults", "simulated"])
def kind(request: pytest.FixtureRequest) -> tuple[str, Shared | None]:
    name: str = request.param
    return name, request.getfixturevalue(name) if name in ("s3", "gcs", "weed") else None


@pytest.fixture
async def store(kind: tuple[str, Shared | None], tmp_path: Path) -> AsyncIterator[Store]:
    name, shared = kind
    if name == "simulated":
        async with simulated_store() as simulated:
            yield simulated
        return
    inner: Store
    if shared is not None:
        inner = await shared.open()
    else:
        inner = memory() if name.startswith("memory") else await local(tmp_path / "store")
    store = FaultyStore(inner) if "no faults" in name else inner
    yield store
    await store.aclose()


async def test_an_appended_entry_is_read_back_equal_in_every_part(store: Store) -> None:
    first, second = entry(store.origin + 1), entry(store.origin + 2)
    await store.append(first)
    await store.append(second)
    assert list(await store.entries_since(store.origin)) == [first, second]


async def test_entries_since_gives_only_what_is_newer(store: Store) -> None:
    entries = [entry(store.origin + n) for n in range(1, 6)]
    for one in entries:
        await store.append(one)
    for known in range(6):
        assert list(await store.entries_since(store.origin + known)) == entries[known:]


async def test_a_fresh_store_is_empty(store: Store) -> None:
    assert list(await store.entries_since(store.origin)) == []
    assert await store.load_snapshot() is None
    assert await store.load_legacy() is None


async def test_a_number_is_given_once_and_its_first_entry_stays(store: Store) -> None:
    first = entry(store.origin + 1, "first")
    await store.append(first)
    for again in (entry(store.origin + 1, "second"), first):
        with pytest.raises(RevisionTaken):
            await store.append(again)
    assert list(await store.entries_since(store.origin)) == [first]


async def test_of_many_who_want_one_number_exactly_one_gets_it(store: Store) -> None:
    outcomes: dict[str, bool] = {}

    async def race(write_id: str) -> None:
        try:
            await store.append(entry(store.origin + 1, write_id))
            outcomes[write_id] = True
        except RevisionTaken:
            outcomes[write_id] = False

    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(race, f"write-{n}")
    (kept,) = await store.entries_since(store.origin)
    assert [write_id for write_id, won in outcomes.items() if won] == [kept.write_id]
    assert len(outcomes) == 20


async def test_no_entry_can_leave_a_gap_before_it(store: Store) -> None:
    await store.append(entry(store.origin + 1))
    with pytest.raises((SieError, ValueError)):
        await store.append(entry(store.origin + 3))
    assert len(await store.entries_since(store.origin)) == 1


async def test_an_entry_without_a_number_is_refused(store: Store) -> None:
    with pytest.raises(ValueError):
        await store.append(entry(0))


async def test_an_append_cancelled_before_it_began_did_not_happen(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel(reason="the test asks for it")
        await store.append(entry(store.origin + 1))
    assert scope.cancelled_caught
    assert list(await store.entries_since(store.origin)) == []


async def test_the_newest_snapshot_is_loaded(store: Store) -> None:
    for n in range(1, 5):
        await store.append(entry(store.origin + n))
    for revision, content in ((1, b"one"), (3, b"three\n\x00\xff{}"), (2, b"two, from one who lags")):
        await store.save_snapshot(store.origin + revision, content)
    assert await store.load_snapshot() == b"three\n\x00\xff{}"


async def test_the_same_snapshot_can_be_saved_again(store: Store) -> None:
    await store.append(entry(store.origin + 1))
    await store.save_snapshot(store.origin + 1, b"one")
    await store.save_snapshot(store.origin + 1, b"one, again")
    assert await store.load_snapshot() == b"one, again"


async def test_closing_takes_nothing_away(store: Store) -> None:
    await store.append(entry(store.origin + 1))
    await store.aclose()
    assert len(await store.entries_since(store.origin)) == 1


async def test_a_store_says_who_and_where_it_is_and_stays_so(store: Store) -> None:
    said = (store.id, store.origin, store.place, store.durable)
    assert len(store.id) == 32
    assert store.place
    assert store.durable == (store.origin == 0)
    await store.append(entry(store.origin + 1))
    assert (store.id, store.origin, store.place, store.durable) == said
