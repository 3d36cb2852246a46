"""A bundle's follower: it never says that it knows what it does not, and a crash of it is passing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from sie import turns
from sie.bus.contract import Bus, Elsewhere, Notice, Nudge
from sie.bus.local import LocalBus
from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry
from sie.catalog.model import Model
from sie.files import load_catalog
from sie.router.fleet import Fleet
from sie.settings import Settings
from sie.wire.status import Nack, WorkerStatus
from sie.worker.compute import Compute
from sie.worker.follow import BundleCatalog, CatchUp, CaughtUp, Part
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
    return CaughtUp(parts=[Part(store=store, revision=max(revisions, default=0), models=models)])


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

    async def catch_up(bundle: str, known: Mapping[str, int]) -> CaughtUp:
        return truth()

    async def run() -> None:
        await supervise(worker, bus=LocalBus(), catch_up=catch_up, fleet=Fleet(), settings=Settings())

    nursery.start_soon(run)
    await trio.sleep(2000)
    pauses = [later - began for began, later in zip(worker.began, worker.began[1:], strict=False)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1000.1, 0.2])
    nursery.cancel_scope.cancel(reason="seen enough")


# -- several stores


def of_store(store: str, *revisions: int, to: int | None = None, whole: bool = False) -> Part:
    """As `truth`, of one store: its models are called after it."""
    catalog = fresh()
    models: list[Model] = []
    for revision in revisions:
        model = catalog.apply(replace(entry(revision), model_id=f"{store}/m{revision}"))
        assert model is not None
        models.append(model)
    return Part(store=store, revision=max(revisions, default=0) if to is None else to, models=models, whole=whole)


def heard(store: str, revision: int, previous: int) -> Notice:
    return Notice(
        store=store, entry=replace(entry(revision), model_id=f"{store}/m{revision}"), previous={"default": previous}
    )


def models_of(bundle: BundleCatalog) -> set[str]:
    return {one.sie_id for one in bundle.catalog.in_bundle("default")} - {one.sie_id for one in fresh().models()}


async def test_each_store_is_followed_in_its_own_order() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("b", 1), of_store("a", 10)]))
    assert (bundle.store, bundle.complete_to, dict(bundle.known)) == ("a", 10, {"b": 1, "a": 10})
    bundle.apply(heard("b", 2, 1))
    bundle.apply(heard("a", 11, 10))
    assert (dict(bundle.known), bundle.misses_something) == ({"b": 2, "a": 11}, False)
    bundle.apply(heard("b", 5, 4))
    assert (dict(bundle.known), bundle.gap, bundle.misses_something) == ({"b": 2, "a": 11}, True, True)
    assert models_of(bundle) == {"b/m1", "b/m2", "a/m10", "a/m11"}
    await bundle.replace(CaughtUp(parts=[of_store("b", 3, 4), of_store("a", to=11)]))
    assert (dict(bundle.known), bundle.misses_something) == ({"b": 5, "a": 11}, False)
    assert models_of(bundle) == {"b/m1", "b/m2", "b/m3", "b/m4", "b/m5", "a/m10", "a/m11"}
    assert {one.sie_id for one in bundle.catalog.logged()} == {"a/m10", "a/m11"}


async def test_another_part_that_comes_later_is_added_and_numbers_stay_those_of_the_first() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("b", 1, whole=True)]))
    await bundle.replace(CaughtUp(parts=[of_store("b", to=1), of_store("a", 10, whole=True)]))
    assert (bundle.store, bundle.complete_to, dict(bundle.known)) == ("b", 1, {"b": 1, "a": 10})
    assert models_of(bundle) == {"b/m1", "a/m10"}


async def test_workers_of_the_same_parts_show_the_same_digest_whatever_they_heard_first() -> None:
    digests = set()
    for order in (["a", "b"], ["b", "a"]):
        bundle = BundleCatalog("default", fresh)
        for at in range(len(order)):
            await bundle.replace(CaughtUp(parts=[of_store(one, 1, whole=True) for one in order[: at + 1]]))
        digests.add(bundle.catalog.digest("default"))
    assert len(digests) == 1


async def test_a_store_that_no_part_names_is_dropped_with_all_it_said() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1, 2), of_store("b", 7)]))
    bundle.apply(heard("a", 3, 2))
    await bundle.replace(CaughtUp(parts=[of_store("a", to=2)]))
    assert (models_of(bundle), dict(bundle.known)) == ({"a/m1", "a/m2", "a/m3"}, {"a": 3})
    bundle.apply(heard("b", 8, 7))
    assert (bundle.misses_something, models_of(bundle)) == (True, {"a/m1", "a/m2", "a/m3"})


async def test_the_first_store_may_be_the_one_that_goes() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1), of_store("b", 7)]))
    bundle.apply(heard("b", 8, 7))
    await bundle.replace(CaughtUp(parts=[of_store("b", to=7)]))
    assert (bundle.store, bundle.complete_to, dict(bundle.known)) == ("b", 8, {"b": 8})
    assert models_of(bundle) == {"b/m7", "b/m8"}
    assert {one.sie_id for one in bundle.catalog.logged()} == {"b/m7", "b/m8"}


async def test_what_is_told_whole_removes_what_it_does_not_hold_and_leaves_other_stores_alone() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1, 2), of_store("b", 7)]))
    bundle.apply(heard("b", 8, 7))
    await bundle.replace(CaughtUp(parts=[of_store("a", 2, whole=True), of_store("b", to=8)]))
    assert (models_of(bundle), dict(bundle.known)) == ({"a/m2", "b/m7", "b/m8"}, {"a": 2, "b": 8})


async def test_what_is_told_whole_may_be_of_less_than_was_known() -> None:
    """To who claims more than there is: a store that was set back, or a claim that is false."""
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1, 2, 9)]))
    await bundle.replace(CaughtUp(parts=[of_store("a", 1, 2, whole=True)]))
    assert (models_of(bundle), dict(bundle.known), bundle.misses_something) == ({"a/m1", "a/m2"}, {"a": 2}, False)


async def test_nacks_of_what_a_whole_part_does_not_hold_are_gone() -> None:
    bundle = BundleCatalog("default", fresh)
    bundle.nacks[("a/m1", "default")] = Nack("a/m1", "default", "no such class")
    await bundle.replace(CaughtUp(parts=[of_store("a", 2, whole=True)]))
    assert bundle.nacks == {}


async def test_a_store_that_nobody_names_is_looked_for_three_times() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1)]))
    for hint in (heard("evil", 5, 4), Elsewhere("evil", 9)):
        bundle.apply(hint)
        for _ in range(3):
            assert bundle.misses_something
            bundle.apply(hint)  # said again meanwhile: that makes it no truer
            await bundle.replace(CaughtUp(parts=[of_store("a", to=1)]))
        assert not bundle.misses_something
    assert (models_of(bundle), dict(bundle.known)) == ({"a/m1"}, {"a": 1})


async def test_nobody_to_tell_is_no_reading() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1)]))
    bundle.apply(Elsewhere("b", 9))
    for _ in range(5):
        await bundle.replace(None)
    assert bundle._unknown
    await bundle.replace(CaughtUp(parts=[of_store("a", to=1), of_store("b", 9, whole=True)]))
    assert (dict(bundle.known), bundle.misses_something) == ({"a": 1, "b": 9}, False)


async def test_being_told_that_there_is_more_is_enough_to_look() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1)]))
    bundle.apply(Elsewhere("a", 1))
    assert not bundle.misses_something
    bundle.apply(Elsewhere("a", 4))
    assert (bundle.complete_to, bundle.misses_something) == (1, True)
    bundle.apply(heard("a", 4, 1))
    assert (bundle.complete_to, bundle.misses_something) == (4, False)


async def test_a_forged_revision_of_a_known_store_is_looked_for_three_times() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1)]))
    bundle.apply(Elsewhere("a", 10**9))
    for _ in range(3):
        assert bundle.misses_something
        await bundle.replace(CaughtUp(parts=[of_store("a", to=1)]))
    assert not bundle.misses_something


async def test_files_alone_are_a_truth_without_parts() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=()))
    assert (bundle.store, bundle.complete_to, dict(bundle.known)) == ("", 0, {})
    assert (bundle.caught_up, bundle.misses_something) == (True, False)


async def test_all_stores_gone_leaves_the_files() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1)]))
    await bundle.replace(CaughtUp(parts=()))
    assert (models_of(bundle), dict(bundle.known), bundle.complete_to) == (set(), {}, 0)


async def test_an_older_reading_of_one_store_takes_nothing_back_while_another_is_added() -> None:
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1)]))
    bundle.apply(replace_profile := Notice(store="a", entry=appended(2, "late"), previous={"default": 1}))
    assert replace_profile.entry.model_id == "a/m1"
    await bundle.replace(CaughtUp(parts=[of_store("a", 1), of_store("b", 7, whole=True)]))
    assert (profiles(bundle), dict(bundle.known)) == ({"default", "late"}, {"a": 2, "b": 7})


async def test_while_a_new_catalog_is_read_the_old_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_TURN_S", 0.0)
    bundle = BundleCatalog("default", fresh)
    await bundle.replace(CaughtUp(parts=[of_store("a", 1, 2)]))
    seen: set[frozenset[str]] = set()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def look() -> None:
            while True:
                seen.add(frozenset(models_of(bundle)))
                await trio.lowlevel.checkpoint()

        await bundle.replace(CaughtUp(parts=[of_store("a", 2, 3, 4, whole=True)]))
        nursery.cancel_scope.cancel(reason="it is there")
    assert seen <= {frozenset({"a/m1", "a/m2"}), frozenset({"a/m2", "a/m3", "a/m4"})}
