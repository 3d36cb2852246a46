"""Entries of several stores, and news that gets lost: who hears of all of it in the end serves the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.catalog import Catalog
from sie.catalog.coverage import Coverage
from sie.catalog.entry import Entry
from tests.catalog.made import catalog, entry
from tests.fuzz.strategies import FILE, Logged, fewer, logs

STORES = ("s1", "s2", "s3")


@st.composite
def several_logs(draw: st.DrawFn) -> dict[str, Logged]:
    """Of routers that did not hear each other."""
    return {
        store: draw(logs(store=store)) for store in draw(st.lists(st.sampled_from(STORES), min_size=1, unique=True))
    }


def served(by: Catalog) -> Any:
    """What clients and other processes see, which does not depend on whose store is the own one."""
    return (
        [(one.canonical, list(one.profiles), one.source, dict(one.disputed)) for one in by.models()],
        {bundle: (by.digest(bundle), sorted(one.sie_id for one in by.in_bundle(bundle))) for bundle in by.bundles},
    )


def catalog_of(own: str) -> Catalog:
    made = catalog(FILE)
    made.own = own
    return made


@fewer
@given(several_logs(), st.data())
def test_entries_of_several_stores_make_the_same_in_any_order_and_however_often(
    written: dict[str, Logged], data: st.DataObject
) -> None:
    entries = [(store, one) for store, log in sorted(written.items()) for one in log.entries]
    own = data.draw(st.sampled_from([*written, "another"]))
    whole, mixed = catalog_of(own), catalog_of(own)
    for store, log in written.items():
        if store == own:
            whole.restore(log.catalog.head, log.catalog.logged())
        else:
            whole.hear(store, log.catalog.logged())
    again = data.draw(st.lists(st.sampled_from(entries), max_size=4)) if entries else []
    for store, one in data.draw(st.permutations(entries + again)):
        mixed.apply(one, store)
    assert served(mixed) == served(whole)
    elsewhere = catalog_of(data.draw(st.sampled_from([*STORES, "another"])))
    elsewhere.hear_all(mixed, but=elsewhere.own)
    for store, log in written.items():  # those of its own store, and those that are the other's own
        for one in log.entries:
            elsewhere.apply(one, store)
    assert served(elsewhere) == served(whole)


@fewer
@given(several_logs())
def test_every_model_that_is_served_can_be_run_and_says_what_some_store_says(written: dict[str, Logged]) -> None:
    made = catalog_of("another")
    for store, log in written.items():
        made.hear(store, log.catalog.logged())
    for model in made.models():
        for name, profile in model.profiles.items():
            assert model.resolve(name).adapter_path
            parts = [made.part(store, model.sie_id) for store in written]
            said = [one.profiles[name].canonical for one in parts if one is not None and name in one.profiles]
            file = made.files_only().find(model.sie_id)
            if file is not None and name in file.profiles:
                said.append(file.profiles[name].canonical)
            assert profile.canonical in said


# -- one bundle's news, some of which never comes


def one(revision: int) -> Entry:
    return entry("a/b", revision)


@given(st.data())
def test_whatever_is_lost_reading_makes_it_whole_and_nothing_is_counted_that_was_neither_heard_nor_read(
    data: st.DataObject,
) -> None:
    """`revisions` touched the bundle; others of the log did not, and are never heard of here."""
    revisions = sorted(data.draw(st.sets(st.integers(1, 40), min_size=1, max_size=12)))
    before = dict(zip(revisions, [0, *revisions], strict=False))
    covered, known, given_out = Coverage(), set[int](), list[int]()

    def take(entries: Sequence[Entry]) -> None:
        given_out.extend(each.revision for each in entries)

    def check() -> None:
        """Everything up to where it says is known; what was given out was heard."""
        assert {each for each in revisions if each <= covered.complete_to} <= known
        assert given_out == sorted(set(given_out))

    for _ in range(data.draw(st.integers(0, 30))):
        match data.draw(st.sampled_from(["heard", "told", "read"])):
            case "heard":
                revision = data.draw(st.sampled_from(revisions))
                known.add(revision)
                take(covered.heard(one(revision), before[revision]))
            case "told":
                covered.told(data.draw(st.sampled_from(revisions)))
            case "read":  # from a router that may be behind
                to = data.draw(st.integers(0, revisions[-1]))
                known |= {each for each in revisions if each <= to}
                take(covered.read_to(to))
        check()
    known |= set(revisions)
    take(covered.read_to(revisions[-1]))
    check()
    assert (covered.complete_to, covered.gap) == (revisions[-1], False)
