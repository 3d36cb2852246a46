"""The head: it stands where it stood or further on, and is the fold of so many entries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from werkzeug.datastructures import Headers

from sie.router.foreign import Foreign
from sie.router.legacy import import_legacy
from sie.router.plane import ConfigPlane
from sie.services import open_services
from sie.testing.steps import Round, Trial
from sie.worker.follow import Part
from tests.pages import FULL, MINIMAL, PAGE_ID
from tests.router.made import catalog_of, entry
from tests.steps.cluster import BUNDLE, FILES, SETTINGS
from tests.steps.made import ORDER, OTHER, Made
from tests.steps.table import Place, case

# -- the head


@case("sie.router.head:Head.read_on", "sie.router.head:Head.reach", clock="real")
@asynccontextmanager
async def reading_on(place: Place) -> AsyncIterator[Trial]:
    place.monkeypatch.setattr("sie.turns._TURN_S", 0)
    made = Made()
    async with Made(store=made.store).running() as before:
        await before.writer.submit(ORDER)
        await before.head.save_snapshot()
        await before.writer.submit(OTHER)
        digest = before.head.catalog.digest(BUNDLE)

    async def check(done: Round) -> None:
        """It stands where it stood or further on, as the fold of so many entries."""
        head = made.head
        assert head.revision in ((2,) if done.finished else (0, 1, 2))
        assert (head.catalog.find(PAGE_ID) is not None) == (head.revision >= 1)
        assert (head.catalog.find(OTHER.change.model_id) is not None) == (head.revision == 2)
        await head.read_on()
        assert (head.revision, head.catalog.digest(BUNDLE), head.folded) == (2, digest, True)

    yield Trial(act=made.head.read_on, check=check)


@case("sie.router.head:Head.save_snapshot", clock="real")
@asynccontextmanager
async def saving_a_snapshot(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:
        await made.writer.submit(ORDER)

        async def check(done: Round) -> None:
            content = await made.store.load_snapshot()
            assert content is not None if done.finished else True
            again = made.new_head()
            await again.read_on()
            assert again.catalog.digest(BUNDLE) == made.head.catalog.digest(BUNDLE)
            await made.head.save_snapshot()
            assert await made.store.load_snapshot() is not None

        yield Trial(act=made.head.save_snapshot, check=check)


@case(
    "sie.router.head:Head.wait_revision",
    "sie.router.plane:ConfigPlane.wait_revision",
    "sie.router.plane:ConfigPlane.reach",
    "sie.router.revision:reach_min_revision",
)
@asynccontextmanager
async def waiting_for_a_revision(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made, open_services("the round is over") as others:
        plane = ConfigPlane(settings=SETTINGS, head=made.head, writer=made.writer, fleet=made.fleet, watch=made.watch)

        async def act() -> None:
            await plane.reach(Headers({"X-SIE-Min-Revision": "1"}))

        async def check(done: Round) -> None:
            assert not done.finished or made.head.revision == 1
            await made.settled()
            await act()
            with trio.move_on_after(0.001):
                await plane.wait_revision(5)

        others.start_soon(made.writer.submit, ORDER)
        yield Trial(act=act, check=check)


@case("sie.router.head:Head.aclose")
@asynccontextmanager
async def closing_the_head(place: Place) -> AsyncIterator[Trial]:
    made = Made()
    await made.head.reach()

    async def check(done: Round) -> None:
        await made.head.aclose()

    yield Trial(act=made.head.aclose, check=check)


@case("sie.router.legacy:import_legacy")
@asynccontextmanager
async def importing(place: Place) -> AsyncIterator[Trial]:
    made = Made(legacy=(MINIMAL, FULL.replace(b"intfloat", b"other")))
    await made.head.read_on()

    async def check(done: Round) -> None:
        """Safe to be stopped anywhere: until the marker is there it is done again, and nothing twice."""
        assert made.head.imported() or not done.finished
        head = made.new_head()
        await head.read_on()
        await import_legacy(head, made.bus, patience_s=5)
        entries = await made.store.entries_since(0)
        assert [one.model_id for one in entries] == [PAGE_ID, OTHER.change.model_id, ""]
        assert entries[-1].marker is not None

    yield Trial(act=lambda: import_legacy(made.head, made.bus, patience_s=5), check=check)


# -- other stores


def parts() -> list[Part]:
    """Two models of one store, and one of another."""
    found = []
    for store, revisions in (("theirs", (1, 2)), ("others", (7,))):
        catalog = catalog_of(bundles={BUNDLE: FILES.bundles[BUNDLE].adapters})
        models = [catalog.apply(entry(one, f"{store}/m{one}")) for one in revisions]
        found.append(Part(store=store, revision=revisions[-1], models=[one for one in models if one is not None]))
    return found


def early(known: Callable[[], dict[str, int]], has: Callable[[str], bool]) -> None:
    """What is said to be known is there; models may be there before that is said."""
    for part in parts():
        if known().get(part.store, 0) >= part.revision:
            assert all(has(one.sie_id) for one in part.models), "said to be known, and not there"


@case("sie.router.foreign:Foreign.take")
@asynccontextmanager
async def taking_other_stores(place: Place) -> AsyncIterator[Trial]:
    place.monkeypatch.setattr("sie.turns._TURN_S", 0)
    catalog = FILES.files_only()
    catalog.own = "ours"
    foreign = Foreign(lambda: catalog, most=16)

    async def check(done: Round) -> None:
        early(lambda: dict(foreign.known), lambda one: catalog.find(one) is not None)
        await foreign.take(parts())
        assert foreign.known == {"theirs": 2, "others": 7}
        assert all(catalog.find(one.sie_id) for part in parts() for one in part.models)

    yield Trial(act=lambda: foreign.take(parts()), check=check)


@case("sie.router.head:Head.take_on")
@asynccontextmanager
async def taking_on(place: Place) -> AsyncIterator[Trial]:
    place.monkeypatch.setattr("sie.turns._TURN_S", 0)
    made = Made()
    await made.head.reach()

    async def check(done: Round) -> None:
        head = made.head
        early(lambda: dict(head.foreign.known), lambda one: head.catalog.find(one) is not None)
        await head.take_on(parts())
        assert head.foreign.known == {"theirs": 2, "others": 7}
        assert all(head.catalog.find(one.sie_id) for part in parts() for one in part.models)

    yield Trial(act=lambda: made.head.take_on(parts()), check=check)
