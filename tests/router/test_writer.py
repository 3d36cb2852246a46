"""The writer: a request may vanish, a write may not be half done; and the same for the store under it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.bus.contract import Elsewhere, Notice, Reminder
from sie.bus.local import LocalBus
from sie.catalog.change import Change, ChangeLimits, read_change
from sie.catalog.entry import Entry
from sie.errors import BusUnavailable, ContentConflict, OutcomeUnknown, StoreUnavailable
from sie.files import load_catalog
from sie.flow import Commit, Order
from sie.router.head import Head
from sie.router.watch import Watch
from sie.router.writer import Writer
from sie.settings import Settings
from sie.store.contract import Store
from sie.store.memory import MemoryStore
from tests.pages import APPEND, FIRST, MINIMAL, PAGE_ID

SETTINGS = Settings()
LIMITS = ChangeLimits.of(SETTINGS)


class RecordingBus(LocalBus):
    """A bus that remembers what it was given, and can be told to be away at the worst moment."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[int] = []
        self.reminded: list[Reminder] = []
        self.broken = False

    async def publish(self, notice: Notice) -> None:
        if self.broken:
            raise BusUnavailable("the broker went away")
        await super().publish(notice)
        self.published.append(notice.entry.revision)

    async def remind(self, reminder: Reminder) -> None:
        if self.broken:
            raise BusUnavailable("the broker went away")
        await super().remind(reminder)
        self.reminded.append(reminder)


def change(body: bytes) -> Change:
    return read_change(body, LIMITS)


def head_for(store: Store, settings: Settings, *, nudge: Callable[[], None] = lambda: None) -> Head:
    async def open_store() -> Store:
        return store

    return Head(
        load_catalog(settings, store.origin)[0],
        store,
        open_store=open_store,
        nudge=nudge,
        watch=Watch(settings),
        limits=LIMITS,
        settings=settings,
        router_id=f"router-{secrets.token_hex(3)}",
    )


@asynccontextmanager
async def writer_over(
    store: Store, bus: RecordingBus | None = None, settings: Settings = SETTINGS
) -> AsyncIterator[Writer]:
    bus = bus or RecordingBus()
    head = head_for(store, settings, nudge=bus.nudge)
    writer = Writer(head, bus, settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        yield writer
        nursery.cancel_scope.cancel(reason="test over")


async def test_an_order_that_is_withdrawn_before_its_turn_changes_nothing() -> None:
    store = MemoryStore()
    async with writer_over(store) as writer:
        with trio.CancelScope() as scope:
            scope.cancel(reason="the client hung up at once")
            await writer.submit(Order(change=change(FIRST)))
        await wait_all_tasks_blocked()
        assert await store.entries_since(store.origin) == []


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope the nth time one task is about to run."""

    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task, step: int) -> None:
        self.scope, self.task, self.left = scope, task, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            if self.left == 0:
                self.scope.cancel(reason="fault injection")
            self.left -= 1


async def test_a_client_that_hangs_up_at_any_step_leaves_all_or_nothing() -> None:
    """Whatever is in the store was published and is in the catalog, wherever the request was cut off."""
    finished = False
    for step in range(40):
        store, bus = MemoryStore(), RecordingBus()
        async with writer_over(store, bus) as writer:
            with trio.CancelScope() as scope:
                instrument = CancelAtStep(scope, trio.lowlevel.current_task(), step)
                trio.lowlevel.add_instrument(instrument)
                await writer.submit(Order(change=change(FIRST), key="k"))
            trio.lowlevel.remove_instrument(instrument)
            await wait_all_tasks_blocked(0.01)
            stored = [entry.revision for entry in await store.entries_since(store.origin)]
            assert bus.published == stored
            assert (writer.head.catalog.find(PAGE_ID) is not None) == bool(stored)
            again = await writer.submit(Order(change=change(FIRST), key="k"))  # the key is never stuck
            assert again.status == 201
            finished = not scope.cancelled_caught
        if finished:
            break
    assert finished, "the order never ran to its end"


async def test_a_bus_that_fails_after_the_append_is_a_warning() -> None:
    store, bus = MemoryStore(), RecordingBus()
    async with writer_over(store, bus) as writer:
        bus.broken = True
        commit = await writer.submit(Order(change=change(FIRST)))
        assert commit.status == 201
        assert [one.partition(":")[0] for one in commit.warnings] == ["nats_publish_failed"]
        assert len(await store.entries_since(store.origin)) == 1


async def test_a_change_that_is_there_already_is_told_again_and_who_missed_it_looks() -> None:
    store, bus = MemoryStore(), RecordingBus()
    async with writer_over(store, bus) as writer:
        first = await writer.submit(Order(change=change(FIRST), key="k"))
        assert bus.reminded == []
        with bus.follow("default") as hints:
            for key in (None, "k", "another"):
                await writer.submit(Order(change=change(FIRST), key=key))
                hint = hints.receive_nowait()
                assert hint == Elsewhere(store.id, first.revision)
        assert len(bus.reminded) == 3
        one = bus.reminded[0]
        assert (one.store, one.model_id, set(one.heads)) == (store.id, PAGE_ID, {"default"})
        assert one.profiles == first.created
        assert bus.published == [first.revision]


async def test_a_rehearsal_is_told_to_nobody() -> None:
    store, bus = MemoryStore(), RecordingBus()
    async with writer_over(store, bus) as writer:
        await writer.submit(Order(change=change(FIRST), dry_run=True))
        await writer.submit(Order(change=change(FIRST), key="k"))
        for key in (None, "k"):
            await writer.submit(Order(change=change(FIRST), key=key, dry_run=True))
    assert (len(bus.published), bus.reminded) == (1, [])


async def test_a_reminder_that_nobody_took_is_a_warning() -> None:
    store, bus = MemoryStore(), RecordingBus()
    async with writer_over(store, bus) as writer:
        await writer.submit(Order(change=change(FIRST), key="k"))
        bus.broken = True
        for key in (None, "k"):
            commit = await writer.submit(Order(change=change(FIRST), key=key))
            assert [one.partition(":")[0] for one in commit.warnings] == ["nats_publish_failed"]


async def test_what_could_not_be_told_waits_and_is_told_once_in_order(autojump_clock: MockClock) -> None:
    store, bus = MemoryStore(), RecordingBus()
    async with writer_over(store, bus) as writer:
        bus.broken = True
        numbers = []
        for name in (b"a/one", b"a/two"):
            commit = await writer.submit(Order(change=change(FIRST.replace(PAGE_ID.encode(), name))))
            numbers.append(commit.revision)
        assert [one.entry.revision for one in writer.head.unsaid] == numbers
        bus.broken = False
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            for _ in range(5):  # as a clock, a nudge and another router's heads have it looked at, at once
                nursery.start_soon(writer.refresh)
        await wait_all_tasks_blocked()
        assert bus.published == numbers
        assert not writer.head.unsaid


class Faulty(MemoryStore):
    """Fails in the way it was told to, `times` times."""

    def __init__(self, fault: Callable[[], Exception], *, lands: bool, times: int) -> None:
        super().__init__()
        self._fault, self._lands, self._times = fault, lands, times

    async def append(self, entry: Entry) -> None:
        if self._times > 0:
            self._times -= 1
            if self._lands:
                await super().append(entry)
            raise self._fault()
        await super().append(entry)


async def test_a_store_that_refuses_is_503_and_leaves_no_ghost() -> None:
    store = Faulty(partial(StoreUnavailable, "disk full"), lands=False, times=1)
    async with writer_over(store) as writer:
        with pytest.raises(StoreUnavailable) as refused:
            await writer.submit(Order(change=change(FIRST)))
        assert not isinstance(refused.value, OutcomeUnknown)
        assert writer.head.catalog.find(PAGE_ID) is None
        assert (await writer.submit(Order(change=change(FIRST)))).status == 201


@pytest.mark.parametrize("lands", [True, False])
async def test_a_store_that_falls_silent_for_a_moment_is_asked_until_it_is_certain(
    lands: bool, autojump_clock: MockClock
) -> None:
    store = Faulty(partial(OutcomeUnknown, "silence"), lands=lands, times=1)
    async with writer_over(store) as writer:
        commit = await writer.submit(Order(change=change(FIRST)))
        assert (commit.status, commit.created) == (201, ("default",))
        assert len(await store.entries_since(store.origin)) == 1


async def test_a_store_that_stays_silent_is_unknown_and_a_retry_finds_what_happened(autojump_clock: MockClock) -> None:
    store = Faulty(partial(OutcomeUnknown, "silence"), lands=False, times=10**6)
    async with writer_over(store) as writer:
        with pytest.raises(OutcomeUnknown):
            await writer.submit(Order(change=change(FIRST), key="k"))
        assert writer.head.catalog.find(PAGE_ID) is None
        store._times = 0
        assert (await writer.submit(Order(change=change(FIRST), key="k"))).status == 201
        assert len(await store.entries_since(store.origin)) == 1


async def test_two_writers_on_one_store_both_get_their_profiles_in() -> None:
    store = MemoryStore()
    async with writer_over(store) as one, writer_over(store) as other:
        await one.submit(Order(change=change(MINIMAL)))
        commits: list[Commit] = []

        async def append(writer: Writer, name: str) -> None:
            body = MINIMAL + f"  {name}:\n    extends: default\n".encode()
            commits.append(await writer.submit(Order(change=change(body))))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(append, (one, other)[number % 2], f"p{number}")
        assert sorted(commit.created[0] for commit in commits) == sorted(f"p{number}" for number in range(20))
        for writer in (one, other):
            await writer.head.read_on()
            model = writer.head.catalog.find(PAGE_ID)
            assert model is not None
            assert len(model.profiles) == 21


async def test_the_loser_of_a_race_is_judged_by_what_the_winner_wrote() -> None:
    store = MemoryStore()
    async with writer_over(store) as one, writer_over(store) as other:
        await one.submit(Order(change=change(FIRST)))
        with pytest.raises(ContentConflict):
            await other.submit(Order(change=change(APPEND)))
        assert (await other.submit(Order(change=change(FIRST)))).status == 200


async def test_a_key_is_known_to_every_writer_of_the_store() -> None:
    store = MemoryStore()
    async with writer_over(store) as one, writer_over(store) as other:
        first = await one.submit(Order(change=change(FIRST), key="k"))
        again = await other.submit(Order(change=change(FIRST), key="k"))
        assert (again.status, again.created, again.revision) == (201, ("default",), first.revision)


async def test_more_orders_than_may_wait_are_refused_at_once(autojump_clock: MockClock) -> None:
    class Slow(MemoryStore):
        async def append(self, entry: Entry) -> None:
            await trio.sleep(1)
            await super().append(entry)

    async with writer_over(Slow(), settings=Settings(orders_waiting=1)) as writer, trio.open_nursery() as nursery:
        nursery.start_soon(writer.submit, Order(change=change(FIRST)))
        await wait_all_tasks_blocked()
        nursery.start_soon(writer.submit, Order(change=change(FIRST)))
        await wait_all_tasks_blocked()
        with pytest.raises(StoreUnavailable):
            await writer.submit(Order(change=change(FIRST)))


async def test_how_orders_ended_is_counted_once_each(autojump_clock: MockClock) -> None:
    for fault, outcome in ((StoreUnavailable, "unavailable"), (OutcomeUnknown, "unknown")):
        async with writer_over(Faulty(partial(fault, "why"), lands=False, times=10**6)) as writer:
            with pytest.raises(fault):
                await writer.submit(Order(change=change(FIRST)))
            await writer.submit(Order(change=change(FIRST), dry_run=True))
            done = writer.statistics()
        assert done.orders == {outcome: 1, "rehearsed": 1}
        assert done.commits.buckets()[-1] == ("+Inf", 0)
    async with writer_over(MemoryStore()) as writer:
        for text in (FIRST, FIRST):
            await writer.submit(Order(change=change(text)))
        with pytest.raises(ContentConflict):
            await writer.submit(Order(change=change(APPEND)))
        done = writer.statistics()
    assert done.orders == {"created": 1, "unchanged": 1, "conflict": 1}
    assert (done.commits.buckets()[-1], done.waiting) == (("+Inf", 1), 0)
