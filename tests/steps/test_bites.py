"""What the worlds of this folder are worth: each fault that is planted here is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from sie.bus.contract import Bus, Notice
from sie.bus.local import LocalBus
from sie.catalog import snapshot
from sie.catalog.change import read_stored
from sie.catalog.coverage import Coverage
from sie.catalog.entry import Entry
from sie.catalog.judge import judge
from sie.catalog.snapshot import Snapshot
from sie.flow import Commit, Order, fulfil
from sie.router.foreign import Foreign
from sie.router.head import Head
from sie.store.memory import MemoryStore
from sie.testing.steps import StepFailed, cancel_at_every_step
from sie.worker.follow import BundleCatalog, Part
from sie.worker.pipeline import Pipeline
from tests.steps.table import CASES, Place, load
from tests.steps.test_crash import LEGACY, ONE, SAME_MODEL, crash_everywhere, in_memory

load()

Plant = Callable[[pytest.MonkeyPatch], None]

# -- in the commit path


def _fulfil(how: Callable[[Head, Bus, Entry, float], Awaitable[None]]) -> Plant:
    """A `fulfil` that does otherwise with an entry."""

    async def wrong(order: Order, *, head: Head, bus: Bus, deadline: float) -> Commit:
        await head.read_on()
        if repeated := head.repeated(order):
            return repeated
        verdict = judge(head.catalog, order.change, head.limits)
        if not verdict.changes:
            return head.unchanged(order, verdict)
        entry = head.entry(order, verdict)
        await how(head, bus, entry, deadline)
        return head.committed(entry)

    return lambda patch: patch.setattr("sie.router.writer.fulfil", wrong)


async def _published_first(head: Head, bus: Bus, entry: Entry, deadline: float) -> None:
    await bus.publish(Notice(store=head.store_id, entry=entry, previous=head.catalog.previous(entry)))
    await head.append(entry, deadline=deadline)
    head.advance(entry)


async def _answered_first(head: Head, bus: Bus, entry: Entry, deadline: float) -> None:
    late = list(head.unsaid)
    head.unsaid.append(head.advance(entry))
    for one in late:
        await head.append(one.entry, deadline=deadline)


async def _without_its_key(head: Head, bus: Bus, entry: Entry, deadline: float) -> None:
    entry = replace(entry, idempotency_key=None)
    await head.append(entry, deadline=deadline)
    await bus.publish(head.advance(entry))


async def _in_two_halves(head: Head, bus: Bus, entry: Entry, deadline: float) -> None:
    for place, name in enumerate(entry.profiles):
        half = replace(entry, profiles={name: entry.profiles[name]}, write_id=f"{entry.write_id}-{place}")
        half = half.placed(entry.revision + place)
        await head.append(half, deadline=deadline)
        await bus.publish(head.advance(half))


def _marked_first(patch: pytest.MonkeyPatch) -> None:
    async def wrong(head: Head, bus: Bus, *, patience_s: float) -> None:
        if not head.imported():
            marker = head.marker(imported_epoch=0, skipped=[])
            await head.append(marker, deadline=trio.current_time() + patience_s)
            head.advance(marker)
            legacy = await head.store.load_legacy()
            for _, content in legacy.documents if legacy is not None else ():
                order = Order(change=read_stored(content), lenient=True)
                await fulfil(order, head=head, bus=bus, deadline=trio.current_time() + patience_s)

    patch.setattr("sie.router.writer.import_legacy", wrong)


def _snapshot_of_less(patch: pytest.MonkeyPatch) -> None:
    def write(whole: Snapshot) -> bytes:
        return snapshot.write_snapshot(replace(whole, models=()))

    patch.setattr("sie.router.head.write_snapshot", write)


CRASHES = {
    "published before it is durable": _fulfil(_published_first),
    "answered before it is durable": _fulfil(_answered_first),
    "the key is not kept": _fulfil(_without_its_key),
    "one change in two entries": _fulfil(_in_two_halves),
    "an import that is marked before it is complete": _marked_first,
    "a snapshot that lacks something": _snapshot_of_less,
}


@pytest.mark.parametrize("fault", CRASHES)
def test_a_crash_brings_it_out(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    posts = SAME_MODEL[:1] if fault == "one change in two entries" else ONE
    legacy = LEGACY if "import" in fault else ()
    CRASHES[fault](monkeypatch)
    with pytest.raises(StepFailed):
        crash_everywhere(in_memory, seed, tmp_path, posts, legacy=legacy, snapshots="snapshot" in fault)


# -- in what is cancelled


async def _append_then_wait(store: MemoryStore, entry: Entry) -> None:
    store._entries.append(entry)
    await trio.lowlevel.checkpoint()


async def _tell_one_by_one(bus: LocalBus, notice: Notice) -> None:
    for ends in list(bus._followers._ends.get("default", ())):
        ends[0].send_nowait(notice)
        await trio.lowlevel.checkpoint()


async def _known_first(foreign: Foreign, parts: Sequence[Part]) -> str | None:
    for part in parts:
        foreign._stores.setdefault(part.store, Coverage(part.revision))
        for model in part.models:
            await trio.lowlevel.checkpoint()
            foreign._hear(part.store, model)
    return None


async def _counted_first(known: BundleCatalog, parts: Mapping[str, Part]) -> None:
    for store, part in parts.items():
        known._stores[store] = Coverage(part.revision)
        for model in part.models:
            await trio.lowlevel.checkpoint()
            known.catalog.restore(model.revision, (model,))


CANCELS: Mapping[str, tuple[type, str, object]] = {
    "sie.store.memory:MemoryStore.append": (MemoryStore, "append", _append_then_wait),
    "sie.bus.local:LocalBus": (LocalBus, "publish", _tell_one_by_one),
    "sie.router.foreign:Foreign.take": (Foreign, "take", _known_first),
    "BundleCatalog.replace, added to": (BundleCatalog, "_add", _counted_first),
    "sie.worker.compute:Compute.encode": (Pipeline, "_remove_items", lambda *_: None),
}


@pytest.mark.parametrize("label", CANCELS)
def test_a_cancel_brings_it_out(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, seed: int
) -> None:
    (one,) = [case for case in CASES if case.label == label]
    monkeypatch.setattr(*CANCELS[label])
    world = partial(one.world, Place.of(tmp_path, monkeypatch, request))
    with pytest.raises(StepFailed) as found:
        trio.run(partial(cancel_at_every_step, world, seed=seed), clock=MockClock(autojump_threshold=0))
    assert str(found.value).startswith("cancelled at step"), "it would have been found without"
