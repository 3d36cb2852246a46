"""The head: reading a long log in turns, a snapshot whole or not at all, and telling how the store stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie import turns
from sie.catalog.change import ChangeLimits
from sie.catalog.entry import Entry
from sie.catalog.keys import Keys
from sie.catalog.snapshot import Snapshot, write_snapshot
from sie.errors import ConfigurationError, ShuttingDown, StoreUnavailable
from sie.files import load_catalog
from sie.flow import Order
from sie.router.head import Head
from sie.router.sync import catch_up
from sie.router.watch import Watch
from sie.router.writer import Writer
from sie.settings import Settings
from sie.store.contract import Store
from sie.store.memory import MemoryStore
from sie.testing.store import FaultyStore, Refuse, Slow
from tests.pages import FIRST, PAGE_ID
from tests.router.test_writer import CancelAtStep, RecordingBus, change, writer_over

ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"


class Durable(MemoryStore):
    """Numbered from 1, and worth a snapshot, as a store that outlives its process is."""

    durable = True

    def __init__(self, entries: int = 0) -> None:
        super().__init__(now=lambda: 0)
        self._entries = [entry(number) for number in range(1, entries + 1)]


def entry(revision: int) -> Entry:
    """Every third adds to one model, so that a prefix shows in its profiles too."""
    shared = revision % 3 == 0
    return Entry(
        model_id="shared/model" if shared else f"own/model-{revision}",
        profiles={f"p{revision}" if shared else "default": {"adapter_path": ADAPTER}},
        fields={},
        write_id=f"w{revision}",
        time="2026-01-01T00:00:00.000Z",
        router_id="r",
        idempotency_key=f"key-{revision}",
        revision=revision,
    )


def head_over(store: Store | None, settings: Settings | None = None, **more: object) -> Head:
    async def open_store() -> Store:
        assert store is not None
        return store

    settings = settings or Settings()
    given = {"open_store": open_store, "nudge": lambda: None, "watch": Watch(settings), **more}
    return Head(
        load_catalog(settings)[0],
        store,
        limits=ChangeLimits.of(settings),
        settings=settings,
        router_id="router",
        **given,  # type: ignore[arg-type]
    )


async def test_a_long_log_is_read_in_turns_and_whoever_looks_sees_a_prefix(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr(turns, "_TURN_S", 0.0)
    head = head_over(Durable(300))
    seen: set[int] = set()

    async def look() -> None:
        while True:
            revision = head.revision
            seen.add(revision)
            shared = head.catalog.find("shared/model")
            assert len(shared.profiles if shared is not None else ()) == revision // 3
            (part,) = (await catch_up(head, "default", {head.store_id: 0})).parts
            created = [at for one in part.models for at in one.created.values() if at]
            assert sorted(created) == list(range(1, part.revision + 1))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(look)
    await head.read_on()
    assert head.revision == 300
    assert len(seen) > 50
    nursery.cancel_scope.cancel(reason="seen enough")


async def test_a_snapshot_appears_whole(nursery: trio.Nursery) -> None:
    """Nobody sees a catalog with some of its models and none of the others; its keys come with it."""
    full = head_over(Durable(100))
    await full.read_on()
    store = Durable(110)
    keys = Keys(1000)
    for one in store._entries[:100]:
        keys.remember(one)
    await store.save_snapshot(100, write_snapshot(Snapshot.of(full.catalog, keys)))
    head = head_over(store)
    known = len(head.catalog.models())
    counts: set[int] = set()

    async def look() -> None:
        while True:
            counts.add(len(head.catalog.models()) - known)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(look)
    await head.read_on()
    assert head.revision == 110
    assert head.catalog.digest("default") != full.catalog.digest("default")
    assert not {count for count in counts if 0 < count < 68}
    assert head.repeated(Order(change=change(FIRST), key="unused")) is None
    nursery.cancel_scope.cancel(reason="seen enough")


async def test_a_read_that_fails_half_way_goes_on_from_there() -> None:
    store = Durable(20)
    nudges: list[int] = []
    head = head_over(FaultyStore(store, reads=[None, Refuse()]), nudge=lambda: nudges.append(1))
    with pytest.raises(StoreUnavailable):
        await head.read_on()
    assert "refused" in (head.trouble or "")
    await head.read_on()
    assert (head.revision, head.trouble, len(nudges)) == (20, None, 1)


async def test_a_store_found_unfit_once_serving_is_a_503_that_says_why() -> None:
    async def unfit() -> Store:
        raise ConfigurationError("locks do not exclude on this file system")

    head = head_over(None, open_store=unfit)
    with pytest.raises(StoreUnavailable, match="locks do not exclude"):
        await head.read_on()
    assert head.trouble == "locks do not exclude on this file system"


async def test_a_store_that_failed_a_post_is_not_called_well_until_it_has_been_read(
    autojump_clock: MockClock,
) -> None:
    """Also where it was not read at start."""
    store = FaultyStore(Durable(), reads=[None, Refuse(), Refuse(), Refuse()])
    async with writer_over(store, settings=Settings(store_retry_s=2.0)) as writer:
        with pytest.raises(StoreUnavailable):
            await writer.submit(Order(change=change(FIRST)))
        await trio.sleep(3)
        assert writer.head.trouble == "refused by plan"
        await trio.sleep(4)
        assert writer.head.trouble is None


async def test_a_slow_snapshot_keeps_no_order_waiting(autojump_clock: MockClock) -> None:
    store = FaultyStore(Durable(), saves=[Slow(before_s=100)])
    async with writer_over(store, settings=Settings(snapshot_every=1)) as writer:
        for number in range(5):
            body = FIRST.replace(PAGE_ID.encode(), b"a/model-%d" % number)
            await writer.submit(Order(change=change(body)))
        assert trio.current_time() < 1


async def test_an_order_that_waited_too_long_is_refused_and_was_not_taken(autojump_clock: MockClock) -> None:
    store = FaultyStore(Durable(), appends=[Slow(before_s=9), Slow(before_s=9)])
    outcomes: list[str] = []

    async def submit(writer: Writer, number: int) -> None:
        body = FIRST.replace(PAGE_ID.encode(), b"a/model-%d" % number)
        try:
            await writer.submit(Order(change=change(body)))
            outcomes.append("stored")
        except StoreUnavailable as refused:
            outcomes.append(str(refused.fields.get("outcome", "refused")))

    async with writer_over(store, settings=Settings(commit_timeout_s=10)) as writer:
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(submit, writer, number)
                await wait_all_tasks_blocked()
        assert trio.current_time() < 12
    assert outcomes == ["stored", "unknown", "refused", "refused"]


async def test_a_writer_stopped_at_any_step_leaves_no_one_waiting() -> None:
    """Whoever asked is told; what was stored is whole, and the next writer over the store has it."""
    for step in range(60):
        store, told = MemoryStore(), trio.Event()
        head = head_over(store, Settings())
        head.catalog.head = store.origin
        writer = Writer(head, RecordingBus(), Settings())

        async def ask(writer: Writer = writer, told: trio.Event = told) -> None:
            with suppress(StoreUnavailable, ShuttingDown):
                await writer.submit(Order(change=change(FIRST), key="k"))
            told.set()

        async def end(scope: trio.CancelScope, told: trio.Event = told) -> None:
            await told.wait()
            scope.cancel(reason="the order is through")

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await wait_all_tasks_blocked()
                scope = trio.CancelScope()
                nursery.start_soon(end, scope)
                with scope:
                    instrument = CancelAtStep(scope, trio.lowlevel.current_task(), step)
                    trio.lowlevel.add_instrument(instrument)
                    await writer.run()
                trio.lowlevel.remove_instrument(instrument)
                await told.wait()
        stored: Sequence[Entry] = await store.entries_since(store.origin)
        assert [one.idempotency_key for one in stored] in ([], ["k"])
        async with writer_over(store) as next_one:
            assert (await next_one.submit(Order(change=change(FIRST), key="k"))).status == 201
        if instrument.left >= 0:
            return
    raise AssertionError("the writer never got through the order")


async def test_a_file_that_says_otherwise_than_the_log_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"sie_id: a/file\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
    (tmp_path / "one.yaml").write_text(text)
    settings, store = Settings(models_dir=tmp_path), Durable()
    append = partial(Order, change=change(b"sie_id: a/file\nprofiles:\n  more:\n    extends: default\n"))
    async with writer_over(store, settings=settings) as writer:
        await writer.submit(append())
    (tmp_path / "one.yaml").write_text(text + "    max_batch_tokens: 5\n")
    head = head_over(store, settings)
    with caplog.at_level(logging.WARNING, logger="sie"):
        await head.read_on()
    assert "a/file" in caplog.text
    found = head.catalog.find("a/file")
    assert found is not None
    assert "max_batch_tokens" not in found.profiles["default"].content
