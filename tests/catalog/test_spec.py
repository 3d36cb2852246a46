"""Model specs: the grammar, and where a name leads."""

from __future__ import annotations

import pytest

from sie.catalog.spec import Spec, parse_spec, route
from sie.errors import BundleConflict, InvalidInput, InvalidModelSpec, ModelNotFound
from tests.catalog.made import DENSE, ELSEWHERE, catalog, entry
from tests.catalog.test_catalog import FILE


@pytest.mark.parametrize(
    ("text", "bundle", "model", "profile"),
    [
        ("BAAI/bge-m3", None, "BAAI/bge-m3", None),
        ("default:/BAAI/bge-m3", "default", "BAAI/bge-m3", None),
        ("SGLang:/a/b", "sglang", "a/b", None),
        ("a/b:v", None, "a/b", "v"),
        ("x:/a/b:v", "x", "a/b", "v"),
        ("a", None, "a", None),
        ("a/b:c:d", None, "a/b:c", "d"),
    ],
)
def test_a_spec_is_taken_apart(text: str, bundle: str | None, model: str, profile: str | None) -> None:
    assert parse_spec(text) == Spec(bundle=bundle, model=model, profile=profile)


@pytest.mark.parametrize("text", ["", ":/a", "x:/", ":/", "a/b:", ":v", "x:/:v", "x:/a:"])
def test_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(InvalidModelSpec):
        parse_spec(text)


def routed(name: str, bundle: str | None = None) -> tuple[str, str | None, str, tuple[str, ...]]:
    made = catalog(FILE, {"sie_id": "org/lost", "profiles": {"default": {"adapter_path": "no.such:Adapter"}}})
    profiles = {"default": {"adapter_path": ELSEWHERE}, "dense": {"adapter_path": DENSE}}
    made.apply(entry("org/model", 1, profiles=profiles))
    found = route(made, parse_spec(name), bundle)
    return found.model.sie_id, found.profile, found.bundle, found.compatible


def test_a_route_is_that_of_the_profile_and_default_if_none_is_named() -> None:
    assert routed("org/model") == ("org/model", None, "sglang", ("sglang", "both"))
    assert routed("org/model:dense") == ("org/model", "dense", "default", ("default",))
    assert routed("Org/Model:dense") == ("org/model", "dense", "default", ("default",))


def test_a_bundle_asked_for_is_used_whatever_its_case_and_the_prefix_wins() -> None:
    assert routed("BOTH:/org/model")[2] == "both"
    assert routed("org/model", "Both")[2] == "both"
    assert routed("both:/org/model", "sglang")[2] == "both"


@pytest.mark.parametrize(("name", "bundle"), [("default:/org/model", None), ("org/model", "nope")])
def test_a_bundle_that_cannot_run_it_is_a_conflict_that_names_those_that_can(name: str, bundle: str | None) -> None:
    with pytest.raises(BundleConflict) as raised:
        routed(name, bundle)
    assert raised.value.fields["compatible_bundles"] == ["sglang", "both"]
    assert raised.value.fields["model"] == "org/model"


def test_an_unknown_model_and_one_that_nothing_runs_are_not_found_and_say_which() -> None:
    with pytest.raises(ModelNotFound) as raised:
        routed("org/none")
    assert raised.value.fields["model"] == "org/none"
    with pytest.raises(ModelNotFound) as raised:
        routed("org/lost")
    assert "no.such" in raised.value.message


def test_an_unknown_profile_is_the_requests_fault_and_lists_the_known() -> None:
    with pytest.raises(InvalidInput) as raised:
        routed("org/shipped:nope")
    assert "default, sparse" in raised.value.message
