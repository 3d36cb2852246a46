"""What stands beside the commit path: waiting, catching others up, telling how things stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from sie.router.fleet import Fleet, Needed
from sie.router.hashes import keep_hashes
from sie.router.health import cluster_status
from sie.router.models import write_routed_models
from sie.router.plane import ConfigPlane
from sie.router.reconcile import Reconcile
from sie.router.sync import catch_up
from sie.router.watch import Watch, Watcher
from sie.services import open_services
from sie.testing.steps import Round, Trial
from sie.wire.sync import SyncRequest
from tests.pages import PAGE_ID
from tests.router.made import entry
from tests.steps.cluster import BUNDLE, FILES, SETTINGS
from tests.steps.made import ORDER, Made, worker
from tests.steps.table import Place, case

# -- waiting for workers, and telling them


@case("sie.router.fleet:Fleet.wait_changed", "sie.router.fleet:Fleet.wait_acked", label="waiting for workers")
@asynccontextmanager
async def waiting_for_workers(place: Place) -> AsyncIterator[Trial]:
    fleet = Fleet()
    needed = Needed(revisions={"s": 2}, model="m", profiles=("default",), bundles=(BUNDLE,))
    fleet.heard(worker("s", 1))

    async def report() -> None:
        for revision in (1, 2):
            await trio.lowlevel.checkpoint()
            fleet.heard(worker("s", revision))

    async def act() -> None:
        await fleet.wait_changed()
        await fleet.wait_acked(needed, linger_s=1)

    async with open_services("the round is over") as workers:

        async def check(done: Round) -> None:
            assert not done.finished or fleet.acks(needed).acked == 1
            assert fleet.acks(needed).total == 1
            fleet.heard(worker("s", 2))
            await fleet.wait_acked(needed, linger_s=1)

        workers.start_soon(report)
        yield Trial(act=act, check=check)


@case("sie.router.sync:catch_up", "sie.router.reconcile:Reconcile.answer_sync")
@asynccontextmanager
async def answering_who_catches_up(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:
        await made.writer.submit(ORDER)
        reconcile = Reconcile(writer=made.writer, fleet=made.fleet, nats=None, settings=SETTINGS)
        asked = SyncRequest(bundle=BUNDLE, known={})

        async def check(done: Round) -> None:
            answer = await reconcile.answer_sync(asked)
            assert answer == await catch_up(made.head, BUNDLE, {})
            assert [one.sie_id for part in answer.parts for one in part.models] == [PAGE_ID]
            assert not done.finished or done.value == answer

        yield Trial(act=lambda: reconcile.answer_sync(asked), check=check)


@case("sie.router.reconcile:Reconcile.run")
@asynccontextmanager
async def reconciling(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:
        await made.store.append(entry(1))
        reconcile = Reconcile(writer=made.writer, fleet=made.fleet, nats=None, settings=SETTINGS)

        async def act() -> None:
            async with open_services("looked once") as services:
                await services.start(reconcile.run)
                await made.head.wait_revision(1)

        async def check(done: Round) -> None:
            assert made.head.revision == 1 if done.finished else made.head.revision in (0, 1)
            await act()
            assert (await made.writer.submit(ORDER)).status == 201

        yield Trial(act=act, check=check)


@case("sie.router.hashes:keep_hashes", "sie.router.plane:ConfigPlane.config_hash", clock="real")
@asynccontextmanager
async def keeping_hashes(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:
        plane = ConfigPlane(settings=SETTINGS, head=made.head, writer=made.writer, fleet=made.fleet, watch=made.watch)
        await made.writer.submit(ORDER)
        old = replace(worker("", 0), by_hash=True, bundle_config_hash=await plane.config_hash(BUNDLE))
        plane._hashes.clear()
        made.fleet.heard(old)

        async def act() -> None:
            async with open_services("noted once") as services:
                services.start_soon(keep_hashes, plane)
                while not made.fleet.shows_newest_hash(old):
                    await made.fleet.wait_changed()

        async def check(done: Round) -> None:
            with trio.fail_after(10):
                await act()
            assert await plane.config_hash(BUNDLE) == old.bundle_config_hash

        yield Trial(act=act, check=check)


@case("sie.router.health:cluster_status", clock="real")
@asynccontextmanager
async def telling_how_it_stands(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:
        plane = ConfigPlane(settings=SETTINGS, head=made.head, writer=made.writer, fleet=made.fleet, watch=made.watch)
        made.fleet.heard(worker(made.head.store_id, 0))

        async def check(done: Round) -> None:
            said = await cluster_status(plane)
            assert [one["config_state"] for one in said["workers"]] == ["differs"]
            assert not done.finished or done.value == said

        yield Trial(act=lambda: cluster_status(plane), check=check)


@case("sie.router.models:write_routed_models")
@asynccontextmanager
async def listing_models(place: Place) -> AsyncIterator[Trial]:
    place.monkeypatch.setattr("sie.turns._TURN_S", 0)
    catalog, fleet = FILES.files_only(), Fleet()
    before = catalog.digest(BUNDLE)

    async def check(done: Round) -> None:
        assert catalog.digest(BUNDLE) == before
        assert not done.finished or done.value == await write_routed_models(catalog, fleet)

    yield Trial(act=lambda: write_routed_models(catalog, fleet), check=check)


@case(
    *(f"sie.router.watch:Watcher.{name}" for name in ("__aenter__", "__aexit__", "__anext__")),
)
@asynccontextmanager
async def watching(place: Place) -> AsyncIterator[Trial]:
    watch = Watch(SETTINGS)
    watch.begin("s", 0)

    async def tell() -> None:
        for revision in (1, 2):
            await trio.lowlevel.checkpoint()
            watch.tell(entry(revision), "s")

    async def read(watcher: Watcher) -> bytes:
        heard = b""
        async with watcher:
            async for piece in watcher:
                heard += piece
                if b"id: s:2\n" in heard:
                    break
        return heard

    async with open_services("the round is over") as others:
        others.start_soon(tell)

        async def check(done: Round) -> None:
            """Cancelled, it is forgotten, and loses nothing for who comes back to the same place."""
            await trio.testing.wait_all_tasks_blocked()
            assert watch.statistics().watchers == 0
            heard = await read(watch.watcher(since="0", last_event_id=None))
            assert heard.count(b"event: entry") == 2

        yield Trial(act=lambda: read(watch.watcher(since="0", last_event_id=None)), check=check)
