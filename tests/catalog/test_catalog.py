"""The catalog as a fold of entries over files: any order, any repetition, nothing ever lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.bundle import Bundle
from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry, read_entry, write_entry
from sie.catalog.fold import Conflict
from tests.catalog.made import DENSE, ELSEWHERE, SPARSE, catalog, entry, post, state

FILE = {
    "sie_id": "org/shipped",
    "hf_id": "org/shipped",
    "profiles": {"default": {"adapter_path": DENSE}, "sparse": {"adapter_path": SPARSE}},
}
CONTENTS: list[dict[str, Any]] = [
    {"adapter_path": DENSE},
    {"adapter_path": SPARSE, "max_batch_tokens": 8192},
    {"adapter_path": ELSEWHERE},
    {"extends": "default"},
]


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Entries as a store holds them: each was judged on what came before."""
    judged = catalog(FILE)
    written: list[Entry] = []
    for revision in range(1, draw(st.integers(1, 12)) + 1):
        model_id = draw(st.sampled_from(["org/a", "org/b", "org/shipped"]))
        known = judged.find(model_id)
        names = [one for one in ["default", "p1", "p2", "p3", "p4"] if known is None or one not in known.profiles]
        chosen = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        if known is None and "default" not in chosen:
            chosen.insert(0, "default")
        contents = {name: draw(st.sampled_from(CONTENTS[: 3 if name == "default" else 4])) for name in chosen}
        choices: list[dict[str, Any]] = [{}, {"max_sequence_length": revision}, {"inputs": {"text": True}}]
        fields = draw(st.sampled_from(choices))
        one = entry(
            model_id,
            revision,
            profiles=contents,
            fields={name: value for name, value in fields.items() if known is None or name not in known.fields},
            base=judged.base_of(model_id),
            body_hash=f"{revision}",
            idempotency_key=draw(st.one_of(st.none(), st.sampled_from(["k1", "k2", "k3"]))),
        )
        judged.advance(one)
        written.append(one)
    return written


@given(logs(), st.data())
def test_any_order_and_any_repetition_of_entries_gives_the_same_catalog(log: list[Entry], data: st.DataObject) -> None:
    for files in ([], [FILE]):
        in_order, shuffled = catalog(*files), catalog(*files)
        for one in log:
            in_order.advance(one)
        for one in data.draw(st.permutations(log + data.draw(st.lists(st.sampled_from(log))))):
            shuffled.apply(one)
        assert state(shuffled) == state(in_order)
        assert shuffled.conflicts == in_order.conflicts == []


@given(logs())
def test_a_write_never_removes_or_changes_anything(log: list[Entry]) -> None:
    growing = catalog(FILE)
    for one in log:
        before = {model.sie_id: model for model in growing.models()}
        growing.advance(one)
        for sie_id, model in before.items():
            after = growing.find(sie_id)
            assert after is not None
            assert {name: after.profiles[name].canonical for name in model.profiles} == {
                name: profile.canonical for name, profile in model.profiles.items()
            }
            assert {name: after.created[name] for name in model.created} == model.created
            assert {name: after.fields[name] for name in model.fields} == model.fields


@given(logs())
def test_entries_are_the_same_after_they_were_stored(log: list[Entry]) -> None:
    direct, stored = catalog(FILE), catalog(FILE)
    for one in log:
        direct.advance(one)
        stored.advance(read_entry(write_entry(one), name="x", revision=one.revision))
    assert state(direct) == state(stored)


@given(logs())
def test_the_digest_kept_in_place_is_that_of_a_catalog_read_anew(log: list[Entry]) -> None:
    asked, anew = catalog(FILE), catalog(FILE)
    for one in log:
        asked.advance(one)
        asked.digest("default")
    anew.restore(asked.head, asked.logged())
    assert state(anew) == state(asked)


def test_profiles_stand_in_the_order_they_were_created_and_listed() -> None:
    made = catalog()
    made.apply(entry("a/b", 2, profiles={"x": {"extends": "default"}}))
    made.apply(entry("a/b", 1, profiles={"z": {"extends": "default"}, "default": {"adapter_path": DENSE}}))
    model = made.find("a/b")
    assert model is not None
    assert list(model.profiles) == ["z", "default", "x"]
    assert dict(model.created) == {"z": 1, "default": 1, "x": 2}
    assert (model.source, model.revision) == ("api", 2)


def test_an_entry_that_contradicts_is_noted_once_and_changes_nothing_that_is_there() -> None:
    made = catalog()
    made.apply(entry("a/b", 1, profiles={"default": {"adapter_path": DENSE}}, fields={"hf_id": "a/b"}))
    other = entry(
        "a/b", 2, profiles={"default": {"adapter_path": SPARSE}, "x": {"adapter_path": DENSE}}, fields={"hf_id": "c/d"}
    )
    made.apply(other)
    made.apply(other)
    model = made.find("a/b")
    assert model is not None
    assert model.profiles["default"].adapter_path == DENSE
    assert model.fields == {"hf_id": "a/b"}
    assert "x" in model.profiles
    assert made.conflicts == [Conflict("a/b", 2, ("default",), ("hf_id",))]


def test_true_and_1_are_a_contradiction() -> None:
    made = catalog()
    for revision, value in ((1, True), (2, 1)):
        content = {"adapter_path": DENSE, "adapter_options": {"runtime": {"x": value}}}
        made.apply(entry("a/b", revision, profiles={"default": content}))
    assert len(made.conflicts) == 1


def test_a_marker_changes_nothing() -> None:
    made = catalog()
    assert made.advance(entry("", 1, marker={"imported_epoch": 3, "skipped": []})) is None
    assert made.previous(entry("", 2, marker={})) == {}
    assert made.head == 1
    assert made.models() == []


def test_advance_takes_the_next_entry_only() -> None:
    made = catalog(origin=41)
    for revision in (41, 43):
        with pytest.raises(ValueError):
            made.advance(entry("a/b", revision, profiles={"default": {"adapter_path": DENSE}}))
    assert (made.head, made.models()) == (41, [])
    made.advance(entry("a/b", 42, profiles={"default": {"adapter_path": DENSE}}))
    assert made.head == 42


def test_each_bundle_knows_what_touched_it_last_and_before() -> None:
    made = catalog(origin=10)
    assert [made.bundle_head(one) for one in made.bundles] == [10, 10, 10]
    dense = entry("a/b", 11, profiles={"default": {"adapter_path": DENSE}})
    assert made.previous(dense) == {"default": 10}
    made.advance(dense)
    sparse = entry("a/b", 12, profiles={"s": {"adapter_path": SPARSE}})
    # Who follows "both" has not heard of the model's beginning, and must read it whole.
    assert made.previous(sparse) == {"default": 11, "both": 12}
    made.advance(sparse)
    assert {one: made.bundle_head(one) for one in made.bundles} == {"default": 12, "sglang": 10, "both": 12}


def test_bundles_of_go_by_priority_and_by_the_adapter_a_profile_inherits() -> None:
    made = catalog()
    assert list(made.bundles) == ["default", "sglang", "both"]
    model = made.apply(
        entry(
            "a/b",
            1,
            profiles={
                "default": {"adapter_path": ELSEWHERE},
                "child": {"extends": "default"},
                "other": {"extends": "default", "adapter_path": DENSE},
                "nowhere": {"adapter_path": "no.such:Adapter"},
            },
        )
    )
    assert model is not None
    assert made.bundles_of(model) == ("default", "sglang", "both")
    assert made.bundles_of(model, "default") == made.bundles_of(model, "child") == ("sglang", "both")
    assert made.bundles_of(model, "other") == ("default",)
    assert made.bundles_of(model, "nowhere") == ()
    with pytest.raises(KeyError):
        made.bundles_of(model, "unknown")


def test_bundles_of_one_name_in_two_cases_are_refused() -> None:
    with pytest.raises(ValueError):
        Catalog([Bundle(bundle_id="a", adapters=("x",)), Bundle(bundle_id="A", adapters=("y",))])


def test_names_are_found_exactly_and_then_without_case() -> None:
    made = catalog(FILE)
    for name in ("org/shipped", "ORG/Shipped"):
        found = made.find(name)
        assert found is not None
        assert found.sie_id == "org/shipped"
    assert made.find("org/none") is None


@pytest.mark.parametrize("sie_id", ["org/shipped", "Org/Shipped"])
def test_two_files_of_one_id_are_refused_whatever_the_case(sie_id: str) -> None:
    with pytest.raises(ValueError):
        catalog(FILE, {**FILE, "sie_id": sie_id})


def test_models_come_sorted_however_they_were_added() -> None:
    made = catalog()
    for revision, name in enumerate(["b/b", "a/a", "c/c", "B/A"], 1):
        made.apply(entry(name, revision, profiles={"default": {"adapter_path": DENSE}}))
        assert [one.sie_id for one in made.models()] == sorted(one.sie_id for one in made.models())
    assert [one.sie_id for one in made.models()] == ["B/A", "a/a", "b/b", "c/c"]


# -- files under the log


def test_an_append_to_a_file_carries_its_content_to_processes_without_the_file() -> None:
    with_file, without = catalog(FILE), catalog()
    verdict = post(with_file, {"sie_id": "org/shipped", "profiles": {"medical": {"extends": "default"}}})
    assert verdict.base is not None
    assert set(verdict.base["profiles"]) == {"default", "sparse"}
    for model in with_file.logged():
        without.restore(1, [model])
    assert state(with_file) == state(without)
    model = without.models()[0]
    assert model.source == "filesystem"
    assert dict(model.created) == {"default": 0, "sparse": 0, "medical": 1}
    assert with_file.differing_files == set()


def test_only_the_first_append_to_a_file_brings_its_content() -> None:
    made = catalog(FILE)
    assert made.base_of("org/shipped") is not None
    post(made, {"sie_id": "org/shipped", "profiles": {"medical": {"extends": "default"}}})
    assert made.base_of("org/shipped") is None
    assert made.base_of("org/unknown") is None


def test_once_the_log_has_a_base_a_differing_file_is_reported_and_does_not_count() -> None:
    first = catalog(FILE)
    post(first, {"sie_id": "org/shipped", "profiles": {"medical": {"extends": "default"}}})
    changed = {**FILE, "profiles": {"default": {"adapter_path": SPARSE}, "new": {"adapter_path": DENSE}}}
    second = catalog(changed)
    second.restore(1, first.logged())
    assert second.differing_files == {"org/shipped"}
    assert [one.document for one in second.models()] == [one.document for one in first.models()]


def test_a_file_added_for_a_model_of_the_log_adds_only_what_the_log_lacks() -> None:
    made = catalog()
    post(made, {"sie_id": "org/shipped", "hf_id": "org/shipped", "profiles": {"default": {"adapter_path": SPARSE}}})
    later = catalog(FILE)
    later.restore(1, made.logged())
    model = later.models()[0]
    assert model.profiles["default"].adapter_path == SPARSE
    assert dict(model.created) == {"sparse": 0, "default": 1}
    assert later.differing_files == {"org/shipped"}
    assert later.base_of("org/shipped") == {"fields": {}, "profiles": {"sparse": {"adapter_path": SPARSE}}}
    post(later, {"sie_id": "org/shipped", "profiles": {"medical": {"extends": "sparse"}}})
    assert later.conflicts == []
    assert later.base_of("org/shipped") is None


def test_a_base_that_runs_elsewhere_than_the_file_moves_the_model() -> None:
    first = catalog({**FILE, "profiles": {"default": {"adapter_path": ELSEWHERE}}})
    post(first, {"sie_id": "org/shipped", "profiles": {"medical": {"extends": "default"}}})
    second = catalog(FILE)
    second.digest("default")
    second.restore(1, first.logged())
    assert second.in_bundle("default") == []
    assert second.digest("default") == catalog().digest("default")


def test_its_repr_tells_where_it_stands() -> None:
    assert repr(catalog(FILE, origin=3)) == "<Catalog at 3: 1 models, 3 bundles>"
