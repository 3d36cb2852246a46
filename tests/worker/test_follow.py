"""A bundle's follower: it never says that it knows what it does not, and a crash of it is passing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from sie import turns
from sie.bus.contract import Bus, Notice, Nudge
from sie.bus.local import LocalBus
from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry
from sie.catalog.model import Model
from sie.files import load_catalog
from sie.router.fleet import Fleet
from sie.settings import Settings
from sie.wire.status import WorkerStatus
from sie.worker.compute import Compute
from sie.worker.follow import BundleCatalog, CatchUp, CaughtUp
from sie.worker.supervise import supervise
from sie.worker.worker import Worker

ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"


def entry(revision: int) -> Entry:
    return Entry(
        model_id=f"a/m{revision}",
        profiles={"default": {"adapter_path": ADAPTER}},
        fields={},
        write_id="w",
        time="t",
        router_id="r",
        revision=revision,
    )


def truth(*revisions: int, store: str = "s") -> CaughtUp:
    catalog = load_catalog(Settings())[0]
    models: list[Model] = []
    for revision in revisions:
        model = catalog.apply(entry(revision))
        assert model is not None
        models.append(model)
    return CaughtUp(store=store, revision=max(revisions, default=0), models=models)


def fresh() -> Catalog:
    return load_catalog(Settings())[0]


async def test_a_gap_is_seen_and_nothing_beyond_it_is_counted() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(truth(1))
    bundle.apply(Notice(store="s", entry=entry(5), previous={"default": 3}))
    assert bundle.catalog.find("a/m5") is None  # it may rest on what is missing
    assert (bundle.complete_to, bundle.misses_something) == (1, True)
    await bundle.replace(truth(3, 5))
    assert (bundle.complete_to, bundle.misses_something) == (5, False)


def appended(revision: int, profile: str) -> Entry:
    """A profile of a/m1 that extends its default."""
    return replace(entry(1), profiles={profile: {"extends": "default"}}, revision=revision)


async def test_a_profile_may_be_heard_of_before_its_parent() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(truth())
    bundle.store = "s"
    bundle.apply(Notice(store="s", entry=appended(2, "child"), previous={"default": 1}))
    assert (bundle.complete_to, bundle.misses_something) == (0, True)
    bundle.apply(Notice(store="s", entry=entry(1), previous={"default": 0}))
    assert (bundle.complete_to, bundle.misses_something) == (2, False)
    model = bundle.catalog.find("a/m1")
    assert model is not None
    assert model.resolve("child").adapter_path == ADAPTER


def profiles(bundle: BundleCatalog) -> set[str]:
    model = bundle.catalog.find("a/m1")
    return set(model.profiles) if model is not None else set()


async def test_what_was_heard_outlives_a_reading_that_is_older() -> None:
    """A router that lags behind answers a catch-up with less than the bus has said already."""
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(truth(1))
    bundle.apply(Notice(store="s", entry=appended(3, "late"), previous={"default": 1}))
    bundle.apply(Notice(store="s", entry=appended(7, "later"), previous={"default": 5}))
    await bundle.replace(truth(1))
    assert (profiles(bundle), bundle.complete_to, bundle.misses_something) == ({"default", "late"}, 3, True)
    bundle.apply(Notice(store="s", entry=appended(5, "between"), previous={"default": 3}))
    assert (profiles(bundle), bundle.complete_to) == ({"default", "late", "between", "later"}, 7)


async def test_a_model_that_joins_a_bundle_is_not_known_there_before_it_is_read_whole() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(truth(2))
    bundle.apply(Notice(store="s", entry=appended(4, "joins"), previous={"default": 4}))
    assert (profiles(bundle), bundle.complete_to, bundle.misses_something) == (set(), 2, True)
    lagging, level = truth(2), truth(1, 4)
    await bundle.replace(lagging)
    assert (bundle.complete_to, bundle.misses_something) == (2, True)
    await bundle.replace(level)
    assert (profiles(bundle), bundle.complete_to, bundle.misses_something) == ({"default"}, 4, False)


async def test_another_store_is_taken_on_whole_or_not_at_all() -> None:
    """Told of another store, and failing on the way: it still stands where it stood, and will look again."""
    broken = [True]

    def failing() -> Catalog:
        if broken[0]:
            raise OSError("the disk")
        return fresh()

    bundle = BundleCatalog("default", fresh)
    await bundle.replace(truth(1, 2))
    bundle._fresh = failing
    bundle.apply(Nudge())
    with pytest.raises(OSError, match="the disk"):
        await bundle.replace(truth(7, store="other"))
    assert (bundle.store, bundle.complete_to, bundle.misses_something) == ("s", 2, True)
    broken[0] = False
    await bundle.replace(truth(7, store="other"))
    assert (bundle.store, bundle.complete_to) == ("other", 7)
    assert bundle.catalog.find("a/m1") is None


async def test_one_cut_off_while_it_catches_up_does_not_count_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_TURN_S", 0.0)
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(truth(1))
    with trio.CancelScope() as scope:
        scope.cancel(reason="the bundle is restarted")
        await bundle.replace(truth(2, 3))
    assert (scope.cancelled_caught, bundle.complete_to) == (True, 1)
    await bundle.replace(truth(2, 3))
    assert bundle.complete_to == 3


async def test_one_that_nobody_can_tell_the_truth_knows_that_it_misses_something() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(None)
    assert (bundle.caught_up, bundle.misses_something) == (False, True)
    await bundle.replace(truth(1))
    assert (bundle.caught_up, bundle.misses_something) == (True, False)
    await bundle.replace(None)
    assert (bundle.complete_to, bundle.caught_up, bundle.misses_something) == (1, True, True)


class Scripted(Worker):
    """Lives as long as it is told, and then crashes."""

    lives: list[float]
    began: list[float]

    async def run(
        self, *, bus: Bus, catch_up: CatchUp, report: Callable[[WorkerStatus], None], on_ready: Callable[[], None]
    ) -> None:
        self.began.append(trio.current_time())
        on_ready()
        await trio.sleep(self.lives.pop(0))
        raise RuntimeError("a fault of ours")


async def test_a_crash_after_a_long_life_is_as_the_first_one(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Scripted("default", name="w", fresh=fresh, compute=Compute(Settings()), machine="")
    worker.lives, worker.began = [0, 0, 0, 0, 1000, 0, 10**6], []

    async def catch_up(bundle: str, store: str, since: int) -> CaughtUp:
        return truth()

    async def run() -> None:
        await supervise(worker, bus=LocalBus(), catch_up=catch_up, fleet=Fleet(), settings=Settings())

    nursery.start_soon(run)
    await trio.sleep(2000)
    pauses = [later - began for began, later in zip(worker.began, worker.began[1:], strict=False)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1000.1, 0.2])
    nursery.cancel_scope.cancel(reason="seen enough")
