"""What those who catch up are told: what they lack and no more, and all of it where that cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sie.catalog.catalog import Catalog
from sie.files import load_catalog
from sie.router.head import Head
from sie.router.sync import catch_up
from sie.settings import Settings
from sie.store.memory import MemoryStore
from sie.worker.follow import BundleCatalog, CaughtUp, Part
from tests.router.made import entry
from tests.router.test_head import ADAPTER, Durable, head_over


async def read_head(entries: int = 6) -> Head:
    """m1 to m6, of the bundle "default"; the store is called "ours"."""
    store = Durable()
    store._entries = [entry(number, f"org/m{number}", adapter=ADAPTER) for number in range(1, entries + 1)]
    store.id = "ours"
    head = head_over(store)
    await head.read_on()
    return head


def theirs(*revisions: int, to: int | None = None) -> Part:
    catalog = load_catalog(Settings())[0]
    for revision in revisions:
        catalog.apply(entry(revision, f"their/m{revision}", adapter=ADAPTER))
    return Part(store="theirs", revision=max(revisions, default=0) if to is None else to, models=catalog.logged())


def said(caught_up: CaughtUp) -> dict[str, tuple[int, bool, list[str]]]:
    return {
        part.store: (part.revision, part.whole, sorted(one.sie_id.rpartition("/m")[2] for one in part.models))
        for part in caught_up.parts
    }


async def told(head: Head, known: Mapping[str, int], digest: str = "", bundle: str = "default") -> object:
    return said(await catch_up(head, bundle, known, digest))


async def test_who_knows_some_is_told_the_rest_and_who_knows_nothing_all() -> None:
    head = await read_head()
    assert await told(head, {"ours": 4}) == {"ours": (6, False, ["5", "6"])}
    assert await told(head, {"ours": 6}) == {"ours": (6, False, [])}
    assert await told(head, {"ours": 0}) == {"ours": (6, False, ["1", "2", "3", "4", "5", "6"])}
    assert await told(head, {}) == {"ours": (6, True, ["1", "2", "3", "4", "5", "6"])}
    assert await told(head, {"gone": 99}) == {"ours": (6, True, ["1", "2", "3", "4", "5", "6"])}


async def test_level_and_of_another_digest_is_told_all_anew() -> None:
    head = await read_head()
    digest = head.catalog.digest("default")
    assert await told(head, {"ours": 6}, digest) == {"ours": (6, False, [])}
    assert await told(head, {"ours": 6}, "f" * 64) == {"ours": (6, True, ["1", "2", "3", "4", "5", "6"])}
    assert await told(head, {"ours": 5}, "f" * 64) == {"ours": (6, False, ["6"])}  # of course it differs


async def test_who_claims_more_than_there_is_is_told_all_anew() -> None:
    head = await read_head()
    assert await told(head, {"ours": 7}) == {"ours": (6, True, ["1", "2", "3", "4", "5", "6"])}


async def test_who_heard_an_entry_of_other_bundles_only_does_not_claim_more_than_there_is() -> None:
    """It may know of a revision beyond the bundle's newest, below the head."""
    head = await read_head(2)
    head.advance(entry(3, "org/m3", adapter="no.such:Adapter"))
    assert head.catalog.bundle_head("default") == 2
    assert await told(head, {"ours": 3}) == {"ours": (2, False, [])}


async def test_of_an_unknown_bundle_there_is_nothing_and_that_is_all() -> None:
    head = await read_head()
    assert await told(head, {"ours": 3}, bundle="none") == {"ours": (6, True, [])}


async def test_each_store_is_told_from_where_the_asker_knows_it() -> None:
    head = await read_head()
    await head.take_on([theirs(7, 9)])
    assert await told(head, {"ours": 5, "theirs": 7}) == {"ours": (6, False, ["6"]), "theirs": (9, False, ["9"])}
    assert await told(head, {"ours": 6}) == {"ours": (6, False, []), "theirs": (9, True, ["7", "9"])}
    assert await told(head, {"theirs": 9}) == {"ours": (6, True, list("123456")), "theirs": (9, False, [])}


async def test_level_with_all_stores_and_of_another_digest_is_told_all_of_them_anew() -> None:
    head = await read_head()
    await head.take_on([theirs(7, 9)])
    whole = {"ours": (6, True, list("123456")), "theirs": (9, True, ["7", "9"])}
    assert await told(head, {"ours": 6, "theirs": 9}, "f" * 64) == whole
    assert await told(head, {"ours": 6, "theirs": 9}, head.catalog.digest("default")) == {
        "ours": (6, False, []),
        "theirs": (9, False, []),
    }
    # Of which store something is missing is told by the numbers alone.
    assert await told(head, {"ours": 6}, "f" * 64) == {"ours": (6, False, []), "theirs": (9, True, ["7", "9"])}


async def test_an_asker_that_knows_more_of_another_store_keeps_that() -> None:
    """This router is the one that lags, and is told by the other one in its turn."""
    head = await read_head()
    await head.take_on([theirs(7, 9)])
    assert await told(head, {"ours": 6, "theirs": 12}) == {"ours": (6, False, []), "theirs": (9, False, [])}


async def test_routers_are_told_of_all_bundles() -> None:
    head = await read_head(2)
    head.advance(entry(3, "org/m3", adapter="no.such:Adapter"))
    await head.take_on([theirs(7)])
    assert await told(head, {"ours": 2}, bundle="_all") == {"ours": (3, False, ["3"]), "theirs": (7, True, ["7"])}
    assert await told(head, {}, "f" * 64, bundle="_all") == {"ours": (3, True, list("123")), "theirs": (7, True, ["7"])}


async def test_what_only_files_say_is_not_told_and_what_the_log_says_of_a_file_is(tmp_path: Path) -> None:
    for name in ("org/m1", "only/file"):
        text = f"sie_id: {name}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
        (tmp_path / f"{name.replace('/', '_')}.yaml").write_text(text)
    store = Durable()
    store._entries = [entry(1, "org/m1", ["logged"], adapter=ADAPTER)]
    head = head_over(store, Settings(models_dir=tmp_path))
    await head.read_on()
    assert {one.sie_id for one in head.catalog.in_bundle("default")} >= {"org/m1", "only/file"}
    (part,) = (await catch_up(head, "default", {})).parts
    assert [(one.sie_id, set(one.profiles)) for one in part.models] == [("org/m1", {"logged"})]


async def test_a_worker_that_is_told_this_way_has_what_the_router_has() -> None:
    """From whatever it knew before, in one step or in many."""
    head = await read_head()
    await head.take_on([theirs(7, 9)])

    def fresh() -> Catalog:
        return load_catalog(Settings())[0]

    for begun in (head.store_id, "theirs"):
        bundle = BundleCatalog("default", fresh)
        first = await catch_up(head, "default", {})
        await bundle.replace(CaughtUp(parts=[one for one in first.parts if one.store == begun]))
        await bundle.replace(await catch_up(head, "default", bundle.known, bundle.catalog.digest("default")))
        assert dict(bundle.known) == {"ours": 6, "theirs": 9}
        assert bundle.catalog.digest("default") == head.catalog.digest("default")


async def test_an_empty_store_is_a_part_all_the_same() -> None:
    store = MemoryStore(now=lambda: 5)
    head = head_over(store)
    head.catalog = load_catalog(Settings(), store.origin)[0]
    head.catalog.own = store.id
    await head.read_on()
    assert said(await catch_up(head, "default", {})) == {store.id: (store.origin, True, [])}
