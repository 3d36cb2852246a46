"""Models of several stores as one: the same wherever they are united, and whole in each store's own log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry
from sie.catalog.fold import fold
from sie.catalog.model import Model
from sie.catalog.union import unite
from sie.errors import SieError
from tests.catalog.made import DENSE, ELSEWHERE, SPARSE, catalog, entry, post

STORES = ("s1", "s2", "s3")
CONTENTS: list[dict[str, Any]] = [
    {"adapter_path": DENSE},
    {"adapter_path": SPARSE, "max_batch_tokens": 8192},
    {"adapter_path": ELSEWHERE},
    {"extends": "default"},
    {"extends": "a"},
    {"extends": "b", "adapter_path": SPARSE},
]
FIELDS: list[dict[str, Any]] = [
    {},
    {"hf_id": "org/one"},
    {"hf_id": "org/two", "max_sequence_length": 5},
    {"max_sequence_length": 6},
]
FILE = {"sie_id": "a/b", "hf_id": "a/b", "profiles": {"default": {"adapter_path": DENSE}, "b": {"extends": "default"}}}


def body(profiles: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"sie_id": "a/b", **fields, "profiles": dict(profiles)}


bodies = st.builds(
    body,
    st.dictionaries(st.sampled_from(["default", "a", "b", "c"]), st.sampled_from(CONTENTS), min_size=1),
    st.sampled_from(FIELDS),
)


def offer(to: Catalog, what: Mapping[str, Any]) -> Entry | None:
    """Post it; its entry, if it was accepted and made one."""
    before = to.head
    logged = to.part(to.own, "a/b")
    try:
        verdict = post(to, what)
    except SieError:
        return None
    if to.head == before:
        return None
    made = entry(
        "a/b",
        to.head,
        profiles={name: verdict.model.profiles[name].content for name in verdict.created},
        fields=verdict.fields,
        base=verdict.base,
        heard=verdict.heard,
    )
    assert fold(logged, made)[0].canonical == to_own(to).canonical
    return made


def to_own(of: Catalog) -> Model:
    model = of.part(of.own, "a/b")
    assert model is not None
    return model


def catalog_of(own: str, *files: Mapping[str, Any]) -> Catalog:
    made = catalog(*files)
    made.own = own
    return made


@st.composite
def folds(draw: st.DrawFn) -> dict[str, Model]:
    """What each store's own routers, who hear nothing of each other, made of one model."""
    made: dict[str, Model] = {}
    for store in draw(st.lists(st.sampled_from(STORES), min_size=1, unique=True)):
        alone = catalog_of(store)
        for what in draw(st.lists(bodies, min_size=1, max_size=4)):
            offer(alone, what)
        if (model := alone.part(store, "a/b")) is not None:
            made[store] = model
    return made


def shown(model: Model | None) -> Any:
    """What does not depend on whose store is the own one."""
    if model is None:
        return None
    for name in model.profiles:
        assert model.resolve(name).adapter_path
    return model.document, list(model.profiles), model.source, dict(model.disputed), sorted(model.revisions.items())


def gathered(own: str, parts: Mapping[str, Model], order: Sequence[str]) -> Catalog:
    """What a process of that store serves that came to know the parts in this order."""
    made = catalog_of(own)
    for store in order:
        if store == own:
            made.restore(parts[store].revision, [parts[store]])
        else:
            made.hear(store, [parts[store]])
    return made


@given(parts=folds().filter(bool), data=st.data())
def test_the_model_is_the_same_whichever_store_is_the_own_and_however_the_parts_come(
    parts: Mapping[str, Model], data: st.DataObject
) -> None:
    seen = []
    for own in [*sorted(parts), "another"]:
        made = gathered(own, parts, data.draw(st.permutations(sorted(parts))))
        found = made.find("a/b")
        assert found is not None
        digests = [made.digest(bundle) for bundle in made.bundles]
        if len(parts) > 1 or own == "another":
            assert dict(found.revisions) == {store: part.revision for store, part in parts.items()}
        seen.append((shown(found)[:-1], digests, [sorted(m.sie_id for m in made.in_bundle(b)) for b in made.bundles]))
        for store, part in parts.items():
            assert (made.part(store, "a/b") or part).canonical == part.canonical  # kept apart for whoever asks
    assert all(one == seen[0] for one in seen)


@given(parts=folds().filter(bool))
def test_each_profile_is_some_stores_and_every_difference_is_told(parts: Mapping[str, Model]) -> None:
    united = unite(sorted(parts.items()), own="another")
    for name, profile in united.profiles.items():
        sayers = [store for store in sorted(parts) if name in parts[store].profiles]
        assert united.stores[name] == sayers[0]  # the lowest id's is served
        assert profile == parts[sayers[0]].profiles[name]
        assert united.created[name] == parts[sayers[0]].created[name]
        differ = len({parts[store].profiles[name].canonical for store in sayers}) > 1
        assert united.disputed.get(f"profiles.{name}") == (tuple(sayers) if differ else None)
    left_out = {name for part in parts.values() for name in part.profiles} - united.profiles.keys()
    for name in left_out:
        assert f"profiles.{name}" in united.disputed
    for name, value in united.fields.items():
        sayers = [store for store in sorted(parts) if name in parts[store].fields]
        assert value == parts[sayers[0]].fields[name]
        differ = len({str(parts[store].fields[name]) for store in sayers}) > 1
        assert united.disputed.get(name) == (tuple(sayers) if differ else None)


@given(parts=folds().filter(bool), data=st.data())
def test_what_one_store_alone_says_is_as_it_says_it(parts: Mapping[str, Model], data: st.DataObject) -> None:
    store = data.draw(st.sampled_from(sorted(parts)))
    assert unite([(store, parts[store])], own=store) is parts[store]
    assert unite([(store, parts[store])], own="another").document == parts[store].document


def model_of(profiles: Mapping[str, Any], *, revision: int = 1, **fields: Any) -> Model:
    return fold(None, entry("a/b", revision, profiles=profiles, fields=fields))[0]


def test_the_lower_store_id_wins_and_both_are_named() -> None:
    one = model_of({"default": {"adapter_path": DENSE}}, hf_id="org/one")
    two = model_of({"default": {"adapter_path": SPARSE}, "more": {"adapter_path": DENSE}}, hf_id="org/two", revision=7)
    united = unite([("a", one), ("b", two)], own="b")
    assert united.profiles["default"].adapter_path == DENSE
    assert united.fields == {"hf_id": "org/one"}
    assert united.disputed == {"hf_id": ("a", "b"), "profiles.default": ("a", "b")}
    assert (dict(united.stores), dict(united.revisions), united.revision) == ({"default": "a"}, {"a": 1, "b": 7}, 7)
    assert unite([("a", one), ("b", two)], own="c").revision == 0


def test_true_and_1_are_disputed() -> None:
    one, two = (
        model_of({"default": {"adapter_path": DENSE, "adapter_options": {"runtime": {"x": value}}}})
        for value in (True, 1)
    )
    assert unite([("a", one), ("b", two)], own="a").disputed == {"profiles.default": ("a", "b")}


@pytest.mark.parametrize(
    "taking_its_place",
    [{"extends": "default"}, {"extends": "default", "adapter_path": SPARSE}],
)
def test_a_profile_whose_parent_was_displaced_by_a_child_is_left_out_and_told(
    taking_its_place: Mapping[str, Any],
) -> None:
    first = model_of({"default": {"adapter_path": DENSE}, "parent": taking_its_place})
    second = model_of(
        {"default": {"adapter_path": DENSE}, "parent": {"adapter_path": SPARSE}, "x": {"extends": "parent"}}
    )
    united = unite([("a", first), ("b", second)], own="b")
    assert set(united.profiles) == {"default", "parent"}
    assert united.disputed == {"profiles.parent": ("a", "b"), "profiles.x": ("b",)}
    made = catalog_of("a")
    made.restore(1, [first])
    made.hear("b", [second])
    assert [made.bundles_of(united, name) for name in united.profiles]  # which asks for every adapter


# -- several routers that hear each other


@given(data=st.data())
def test_an_entry_that_rests_on_another_stores_part_leaves_a_log_that_stands_alone(data: st.DataObject) -> None:
    """Routers of three stores take posts and hear each other late, or not at all: whatever one accepted can be run by
    its own store's log alone, as after a restart with the others gone."""
    with_file = data.draw(st.booleans())
    files = [FILE] if with_file else []
    routers = {store: catalog_of(store, *files) for store in STORES[:2]}
    for _ in range(data.draw(st.integers(1, 8))):
        router = routers[data.draw(st.sampled_from(sorted(routers)))]
        if data.draw(st.booleans()):
            offer(router, data.draw(bodies))
        else:
            for store, other in routers.items():
                if store != router.own and other.part(store, "a/b") is not None:
                    router.hear(store, [to_own(other)])
    for store, router in routers.items():
        own = router.part(store, "a/b")
        if own is None:
            continue
        alone = catalog_of(store)
        alone.restore(router.head, [own])
        found = alone.find("a/b")
        assert found is not None
        for name in found.profiles:
            assert found.resolve(name).adapter_path, name


def test_a_child_of_anothers_profile_brings_that_profile_into_the_own_log() -> None:
    made = catalog_of("own")
    made.hear("other", [model_of({"default": {"adapter_path": DENSE}, "b": {"extends": "default"}}, hf_id="org/x")])
    verdict = post(made, {"sie_id": "a/b", "profiles": {"child": {"extends": "default"}}})
    assert verdict.heard == {
        "fields": {"hf_id": "org/x"},
        "profiles": {"default": {"adapter_path": DENSE}, "b": {"extends": "default"}},
    }
    own = to_own(made)
    assert own.resolve("child").adapter_path == DENSE
    assert dict(own.created) == {"default": 1, "b": 1, "child": 1}
    assert own.fields == {"hf_id": "org/x"}
    assert made.models()[0].disputed == {}
    assert made.heard_of("a/b") is None  # once


def test_nothing_heard_is_nothing_to_bring() -> None:
    made = catalog_of("own")
    assert made.heard_of("a/b") is None
    verdict = post(made, {"sie_id": "a/b", "profiles": {"default": {"adapter_path": DENSE}}})
    assert verdict.heard is None
    assert made.heard_of("a/b") is None


def test_an_entry_is_folded_the_same_where_the_other_store_is_unknown() -> None:
    """A worker that knows the own store only, and one that knows both."""
    made = catalog_of("own")
    made.hear("other", [model_of({"default": {"adapter_path": DENSE}})])
    one = offer(made, body({"child": {"extends": "default"}}, {}))
    assert one is not None
    alone, both = catalog_of("own"), catalog_of("own")
    alone.apply(one)
    both.apply(one)
    both.hear("other", [model_of({"default": {"adapter_path": DENSE}})])
    assert alone.models()[0].document == both.models()[0].document
    assert alone.digest("default") == both.digest("default")


def test_entries_of_another_store_are_kept_apart_and_leave_the_own_numbers_alone() -> None:
    made = catalog_of("own")
    made.apply(entry("a/b", 40, profiles={"default": {"adapter_path": DENSE}}), "other")
    assert made.logged() == []
    assert (made.head, made.bundle_head("default")) == (0, 0)
    assert made.previous(entry("a/b", 1, profiles={"x": {"adapter_path": DENSE}})) == {"default": 0}
    assert {store: set(models) for store, models in made.others().items()} == {"other": {"a/b"}}
    assert made.apply(entry("", 41, marker={"imported_epoch": 3}), "other") is None
    assert made.imported_epoch is None


@given(parts=folds().filter(bool), data=st.data())
def test_a_store_that_is_forgotten_leaves_what_there_was_without_it(
    parts: Mapping[str, Model], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(parts)))
    made = gathered("own", parts, sorted(parts)).without(gone)
    left = gathered(
        "own", {store: part for store, part in parts.items() if store != gone}, sorted(parts.keys() - {gone})
    )
    assert [shown(one) for one in made.models()] == [shown(one) for one in left.models()]
    assert [made.digest(one) for one in made.bundles] == [left.digest(one) for one in left.bundles]


@given(parts=folds().filter(bool), data=st.data())
def test_a_store_begun_anew_keeps_the_others_and_what_was_its_own_counts_no_more(
    parts: Mapping[str, Model], data: st.DataObject
) -> None:
    own = data.draw(st.sampled_from(sorted(parts)))
    made = gathered(own, parts, sorted(parts)).without_log("new")
    left = gathered("new", {store: part for store, part in parts.items() if store != own}, sorted(parts.keys() - {own}))
    assert (made.own, made.head) == ("new", 0)
    assert [shown(one) for one in made.models()] == [shown(one) for one in left.models()]


DISPUTED = {"default": {"adapter_path": DENSE}, "p": {"extends": "default"}}


def runs_alone(made: Catalog) -> None:
    """What the own log says can be run by a process that knows nothing else."""
    own = to_own(made)
    for name in own.profiles:
        assert own.resolve(name).adapter_path, name


def test_a_child_of_a_parent_that_the_own_log_has_as_a_child_is_refused_or_can_be_run_by_the_own_log_alone() -> None:
    """Else no worker could take the model from its own store's log, or from a catch-up."""
    made = catalog_of("s2")
    assert offer(made, body(DISPUTED, {})) is not None
    made.hear("s1", [model_of({"default": {"adapter_path": DENSE}, "p": {"adapter_path": SPARSE}})])
    offer(made, body({"q": {"extends": "p"}}, {}))
    runs_alone(made)


def test_what_is_heard_of_a_parent_that_the_own_log_has_as_a_child_is_not_brought_into_the_own_log() -> None:
    made = catalog_of("s2")
    assert offer(made, body(DISPUTED, {})) is not None
    theirs = {"default": {"adapter_path": DENSE}, "p": {"adapter_path": SPARSE}, "q": {"extends": "p"}}
    made.hear("s1", [model_of(theirs)])
    offer(made, body({"unrelated": {"adapter_path": DENSE}}, {}))
    runs_alone(made)
