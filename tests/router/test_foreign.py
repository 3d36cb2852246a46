"""What routers with other stores said: taken on in each log's order, never taken for one's own, bounded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from sie.bus.contract import Notice
from sie.catalog.catalog import Catalog
from sie.catalog.model import Model
from sie.router.foreign import Foreign
from sie.worker.follow import Part
from tests.router.made import catalog_of, entry


def notice(revision: int, *, store: str = "theirs", model_id: str = "org/model") -> Notice:
    one = entry(revision, model_id, profiles=[f"p{revision}"])
    return Notice(store=store, entry=one, previous={"default": revision - 1})


def part(*revisions: int, store: str = "theirs", to: int | None = None, whole: bool = False) -> Part:
    """What the store says as of a revision: a profile of one model for each number."""
    catalog = catalog_of()
    for revision in revisions:
        catalog.apply(entry(revision, profiles=[f"p{revision}"]))
    models: Sequence[Model] = catalog.logged()
    return Part(store=store, revision=max(revisions, default=0) if to is None else to, models=models, whole=whole)


class Here:
    """A catalog of its own store, and what is heard beside it."""

    def __init__(self, most: int = 16) -> None:
        self.catalog: Catalog = catalog_of()
        self.catalog.own = "ours"
        self.foreign = Foreign(lambda: self.catalog, most=most)

    @property
    def profiles(self) -> list[str]:
        model = self.catalog.find("org/model")
        return sorted(model.profiles) if model is not None else []


async def test_of_a_store_that_is_not_known_nothing_is_taken_on_before_it_was_asked_for() -> None:
    here = Here()
    assert not here.foreign.heard(notice(1))
    assert (here.profiles, dict(here.foreign.known)) == ([], {})
    await here.foreign.take([part(1, 2)])
    assert (here.profiles, dict(here.foreign.known)) == (["p1", "p2"], {"theirs": 2})
    assert here.foreign.heard(notice(3))
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1", "p2", "p3"], 3)


async def test_past_a_gap_nothing_is_served_and_the_gap_is_told_of_until_it_closes() -> None:
    here = Here()
    await here.foreign.take([part(1)])
    assert not here.foreign.heard(notice(3))
    assert not here.foreign.heard(notice(4))
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1"], 1)
    assert here.foreign.heard(notice(2))
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1", "p2", "p3", "p4"], 4)


async def test_a_gap_is_closed_by_what_another_router_tells() -> None:
    here = Here()
    await here.foreign.take([part(1)])
    assert not here.foreign.heard(notice(5))
    await here.foreign.take([part(1, 2, 4)])
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1", "p2", "p4", "p5"], 5)


async def test_an_older_reading_takes_nothing_back() -> None:
    here = Here()
    await here.foreign.take([part(1, 2)])
    assert here.foreign.heard(notice(3))
    await here.foreign.take([part(1)])
    await here.foreign.take([part(1, 2)])
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1", "p2", "p3"], 3)


async def test_two_stores_are_told_apart() -> None:
    here = Here()
    await here.foreign.take([part(1), part(1, 7, store="others")])
    assert dict(here.foreign.known) == {"theirs": 1, "others": 7}
    assert here.foreign.heard(notice(8, store="others"))
    assert not here.foreign.heard(notice(3))
    assert dict(here.foreign.known) == {"theirs": 1, "others": 8}
    assert here.catalog.head == 0
    assert here.catalog.logged() == []


async def test_an_empty_store_is_known_too_and_its_first_entry_is_taken() -> None:
    here = Here()
    await here.foreign.take([part(to=0)])
    assert dict(here.foreign.known) == {"theirs": 0}
    assert here.foreign.heard(notice(1))
    assert here.profiles == ["p1"]


async def test_a_store_whose_numbers_begin_late_has_no_gap_before_them() -> None:
    """As one in a router's own memory: its first entry has a number far beyond 1."""
    here = Here()
    await here.foreign.take([part(to=10**12)])
    assert here.foreign.heard(notice(10**12 + 1))
    assert here.profiles == [f"p{10**12 + 1}"]


async def test_whoever_knows_more_or_another_store_is_asked() -> None:
    here = Here()
    assert here.foreign.lacks({"theirs": 0})
    await here.foreign.take([part(1)])
    assert not here.foreign.lacks({"theirs": 1})
    assert not here.foreign.lacks({"theirs": 0})
    assert not here.foreign.lacks({})
    assert here.foreign.lacks({"theirs": 2})
    assert here.foreign.lacks({"theirs": 1, "others": 0})


async def test_a_forged_entry_of_a_far_number_does_not_stay_for_ever() -> None:
    here = Here()
    await here.foreign.take([part(1)])
    assert not here.foreign.heard(notice(10**9))
    for _ in range(3):
        await here.foreign.take([part(1)])
    assert here.foreign.heard(notice(2))
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1", "p2"], 2)


async def test_there_is_room_for_so_many_and_the_one_not_heard_of_for_longest_goes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    here = Here(most=2)
    for store in ("a", "b", "c"):
        here.foreign.alive(store)
        await trio.sleep(1)
    here.foreign.alive("a")
    assert await here.foreign.take([part(1, store="a")]) is None
    assert await here.foreign.take([part(1, 2, store="b")]) is None
    assert await here.foreign.take([part(1, 2, 3, store="c")]) == "b"
    here.foreign.forget("b")
    here.catalog = here.catalog.without("b")
    assert dict(here.foreign.known) == {"a": 1, "c": 3}
    assert set(here.catalog.others()) == {"a", "c"}
    assert "store b" in caplog.text
    assert not here.foreign.heard(notice(3, store="b"))  # it is unknown again


async def test_one_never_heard_of_itself_goes_before_any_that_was() -> None:
    here = Here(most=1)
    here.foreign.alive("a")
    assert await here.foreign.take([part(1, store="a"), part(1, store="b")]) == "b"


async def test_cut_off_while_it_takes_a_part_on_it_does_not_count_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from sie import turns

    monkeypatch.setattr(turns, "_TURN_S", 0.0)
    here = Here()
    await here.foreign.take([part(1)])
    with trio.CancelScope() as scope:
        scope.cancel(reason="the router stops")
        await here.foreign.take([part(1, 2, 3)])
    assert (scope.cancelled_caught, here.foreign.known["theirs"]) == (True, 1)
    await here.foreign.take([part(1, 2, 3)])
    assert (here.profiles, here.foreign.known["theirs"]) == (["p1", "p2", "p3"], 3)
