"""A worker's catalog: at every step it has what it claims to know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import trio
import trio.testing

from sie.bus.contract import Notice
from sie.bus.followers import Followers
from sie.bus.local import LocalBus
from sie.bus.nats import NatsBus
from sie.catalog.change import ChangeLimits
from sie.flow import keep_bundle_current
from sie.router.fleet import Fleet
from sie.services import open_services
from sie.settings import Settings
from sie.store.objects import open_objects
from sie.store.open import open_to_read
from sie.testing.device import FakeDevice
from sie.testing.steps import Round, Trial
from sie.wire.notification import LegacyNotification
from sie.worker.compute import Compute
from sie.worker.follow import BundleCatalog, CaughtUp, Part
from sie.worker.following import keep_following
from sie.worker.legacy import LegacyEar
from sie.worker.standing import Standing
from sie.worker.supervise import supervise
from sie.worker.truth import FilesOnly, ReadStore
from sie.worker.worker import Worker
from tests.pages import FIRST, PAGE_ID
from tests.router.made import entry
from tests.steps.buckets import MemoryBucket
from tests.steps.cluster import BUNDLE, FILES
from tests.steps.table import Place, case

QUIET = Settings(bundles=(BUNDLE,), restart_s=0.1)


# -- the catalog


def truth(*revisions: int, store: str = "s", whole: bool = False) -> CaughtUp:
    catalog = FILES.files_only()
    models = [catalog.apply(entry(one, f"org/m{one}")) for one in revisions]
    return CaughtUp(
        parts=[Part(store=store, revision=revisions[-1], models=[one for one in models if one], whole=whole)]
    )


def is_true(known: BundleCatalog) -> None:
    """What is counted as known is there."""
    for revision in range(1, known.complete_to + 1):
        assert known.catalog.find(f"org/m{revision}") is not None, f"{known.complete_to} is claimed"


def _replacing(label: str, caught_up: CaughtUp) -> None:
    @case("sie.worker.follow:BundleCatalog.replace", label=f"BundleCatalog.replace, {label}")
    @asynccontextmanager
    async def replacing(place: Place) -> AsyncIterator[Trial]:
        place.monkeypatch.setattr("sie.turns._TURN_S", 0)
        known = BundleCatalog(BUNDLE, FILES.files_only)
        await known.replace(truth(1))
        before = known.known
        known.apply(Notice(store="s", entry=entry(4, "org/m4"), previous={BUNDLE: 3}))  # past a gap

        async def check(done: Round) -> None:
            assert done.finished or known.known == before
            is_true(known)
            await known.replace(caught_up)
            (part,) = caught_up.parts
            assert known.complete_to == part.revision + (not part.whole)  # what is whole wins over what was heard
            is_true(known)

        yield Trial(act=lambda: known.replace(caught_up), check=check)


_replacing("added to", truth(2, 3))
_replacing("replaced", truth(1, 2, 3, whole=True))
_replacing("by another store", truth(1, 2, store="z", whole=True))


class Followed:
    """A bus with a worker on it, and somebody to publish."""

    def __init__(self) -> None:
        self.bus = LocalBus()
        self.fleet = Fleet()
        self.compute = Compute(QUIET, device=FakeDevice())
        self.worker = Worker(BUNDLE, name="w", fresh=FILES.files_only, compute=self.compute, machine="")

    @property
    def known(self) -> BundleCatalog:
        return self.worker.known

    async def catch_up(self, bundle: str, known: object) -> CaughtUp:
        await trio.lowlevel.checkpoint()
        return truth(1, 2, 3)

    async def publish(self) -> None:
        """Two that follow each other, and one past a gap."""
        for revision, previous in ((1, 0), (3, 2)):
            await trio.lowlevel.checkpoint()
            await self.bus.publish(
                Notice(store="s", entry=entry(revision, f"org/m{revision}"), previous={BUNDLE: previous})
            )

    async def until_level(self, run: Callable[[], Awaitable[None]]) -> None:
        async with open_services("level") as services:
            services.start_soon(run)
            services.start_soon(self.publish)
            with trio.fail_after(30):
                while self.known.complete_to < 3:
                    await trio.sleep(0.001)

    def trial(self, run: Callable[[], Awaitable[None]], after: Callable[[], None] = lambda: None) -> Trial:
        async def check(done: Round) -> None:
            after()
            is_true(self.known)
            await self.until_level(run)
            is_true(self.known)

        return Trial(act=lambda: self.until_level(run), check=check)


@case("sie.flow:keep_bundle_current")
@asynccontextmanager
async def keeping_current(place: Place) -> AsyncIterator[Trial]:
    place.monkeypatch.setattr("sie.turns._TURN_S", 0)
    made = Followed()

    async def run() -> None:
        with made.bus.follow(BUNDLE) as hints:
            await keep_bundle_current(hints, bundle=made.known, catch_up=made.catch_up, report=lambda: None)

    yield made.trial(run)


@case("sie.worker.worker:Worker.run")
@asynccontextmanager
async def working(place: Place) -> AsyncIterator[Trial]:
    made = Followed()

    def after() -> None:
        assert not made.worker.status().ready, "it follows no more, and says that it is ready"

    run = partial(made.worker.run, bus=made.bus, catch_up=made.catch_up, report=made.fleet.heard, on_ready=lambda: None)
    yield made.trial(run, after)


@case("sie.worker.supervise:supervise")
@asynccontextmanager
async def supervising(place: Place) -> AsyncIterator[Trial]:
    made = Followed()

    def after() -> None:
        assert made.fleet.workers == (), "it is down, and the fleet has it"

    run = partial(supervise, made.worker, bus=made.bus, catch_up=made.catch_up, fleet=made.fleet, settings=QUIET)
    yield made.trial(run, after)


@case("sie.worker.following:keep_following", clock="real")
@asynccontextmanager
async def following(place: Place) -> AsyncIterator[Trial]:
    made = Followed()
    standing = Standing(made.worker)

    def after() -> None:
        assert not standing.ready, "it follows no more, and says that it is ready"

    run = partial(keep_following, made.worker, bus=made.bus, truth=made.catch_up, standing=standing, settings=QUIET)
    yield made.trial(run, after)


@case(
    *(f"sie.worker.standing:Standing.{name}" for name in ("run", "wait_changed", "wait_until")),
    clock="real",
)
@asynccontextmanager
async def standing_there(place: Place) -> AsyncIterator[Trial]:
    made = Followed()
    standing = Standing(made.worker)

    async def act() -> None:
        async with open_services("walked once") as services:
            services.start_soon(standing.run)
            with trio.fail_after(30):
                await standing.wait_until(lambda: '"bundle_config_hash":""' not in standing.message())

    async def check(done: Round) -> None:
        seen = standing.changes
        await act()
        standing.drain()
        assert await standing.wait_changed(seen) > seen

    yield Trial(act=act, check=check)


@case("sie.worker.truth:FilesOnly.__call__", "sie.worker.truth:FilesOnly.aclose")
@asynccontextmanager
async def files_only(place: Place) -> AsyncIterator[Trial]:
    only = FilesOnly()

    async def act() -> CaughtUp | None:
        found = await only(BUNDLE, {})
        await only.aclose()
        return found

    async def check(done: Round) -> None:
        assert await act() == CaughtUp(parts=())

    yield Trial(act=act, check=check)


@case("sie.worker.truth:ReadStore.__call__", "sie.worker.truth:ReadStore.aclose", clock="real")
@asynccontextmanager
async def reading_a_store(place: Place) -> AsyncIterator[Trial]:
    bucket = MemoryBucket()
    settings = Settings(bundles=(BUNDLE,), store_dir="s3://some/where", store_timeout_s=60)
    place.monkeypatch.setattr("sie.store.open.connect", lambda address, timeout_s: bucket)
    store = await open_objects(lambda: bucket, bucket.place, settings)
    await store.append(entry(1, "org/m1"))
    known = BundleCatalog(BUNDLE, FILES.files_only)
    read = ReadStore(settings, FILES.files_only, known, partial(open_to_read, settings))

    async def act() -> CaughtUp | None:
        found = await read(BUNDLE, {})
        await read.aclose()
        return found

    async def check(done: Round) -> None:
        found = await read(BUNDLE, {})
        assert found is not None
        assert [one.sie_id for part in found.parts for one in part.models] == ["org/m1"]
        assert read.trouble is None

    yield Trial(act=act, check=check)


@case("sie.worker.legacy:LegacyEar.listen", clock="real")
@asynccontextmanager
async def hearing_old_routers(place: Place) -> AsyncIterator[Trial]:
    said = LegacyNotification(
        router_id="old", model_id=PAGE_ID, profiles_added=("default",), epoch=1, model_config=FIRST.decode()
    )
    followers: Followers[LegacyNotification] = Followers()

    class OldBus:
        def follow_legacy(self, bundle: str) -> object:
            return followers.follow(bundle)

    known = BundleCatalog(BUNDLE, FILES.files_only)
    ear = LegacyEar(known, ChangeLimits.of(QUIET), lambda: None)

    async def act() -> None:
        async with open_services("heard") as services:
            services.start_soon(ear.listen, cast("NatsBus", OldBus()))
            await trio.testing.wait_all_tasks_blocked()
            followers.tell(BUNDLE, said)
            with trio.fail_after(30):
                while known.catalog.find(PAGE_ID) is None:
                    await trio.sleep(0.001)

    async def check(done: Round) -> None:
        assert ear.taken == (known.catalog.find(PAGE_ID) is not None)
        assert followers.topics == []
        await act()
        assert (ear.taken, ear.ignored.total()) == (1, 0)

    yield Trial(act=act, check=check)
