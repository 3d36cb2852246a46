"""Variables in a case, and the paths by which they are saved."""

from __future__ import annotations

from typing import Any

import pytest

from spec.fill import UnknownVariable, fill, variables_in
from spec.paths import NoneLikeIt, NoSuchItem, look_up

KNOWN = {"model": "conformance-1/a.b", "revision": 7, "profiles": ["default"], "dot": "a.b"}


def test_a_variable_is_filled_in_wherever_text_is() -> None:
    step = {
        "post": "/v1/configs/models/$model",
        "json": {"sie_id": "$model-b", "profiles": {"$dot": {"n": 1, "none": None, "yes": True}}},
        "expect": {"json": {"created_profiles": "$profiles", "a": [{"$one_of": ["$revision", "r$revision"]}]}},
    }
    assert fill(step, KNOWN) == {
        "post": "/v1/configs/models/conformance-1/a.b",
        "json": {"sie_id": "conformance-1/a.b-b", "profiles": {"a.b": {"n": 1, "none": None, "yes": True}}},
        "expect": {"json": {"created_profiles": ["default"], "a": [{"$one_of": [7, "r7"]}]}},
    }
    assert set(variables_in(step)) == {"model", "dot", "profiles", "revision"}


def test_two_dollars_are_one_and_a_lone_one_is_itself() -> None:
    assert fill("$$model costs 5$", KNOWN) == "$model costs 5$"
    assert list(variables_in("$$model costs 5$")) == []


def test_in_a_pattern_a_variable_means_itself() -> None:
    assert fill({"$matches": "^$dot$"}, KNOWN) == {"$matches": r"^a\.b$"}
    assert fill({"until": "id:$revision"}, KNOWN) == {"until": "id:7"}


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(UnknownVariable) as unknown:
        fill({"a": ["$missing"]}, KNOWN)
    assert "$missing" in str(unknown.value)


DOCUMENT: Any = {"a": [{"id": "x", "n": 1}, {"id": "y/z", "n": 2}], "b": {"c-d": 3}}


@pytest.mark.parametrize(
    ("path", "found"), [("a.1.n", 2), ("a[id=y/z].n", 2), ("a[n=1].id", "x"), ("b.c-d", 3), ("", DOCUMENT)]
)
def test_a_path_leads_to_a_value(path: str, found: object) -> None:
    assert look_up(DOCUMENT, path) == found


@pytest.mark.parametrize("path", ["a.2", "a.x", "b.c", "b.c-d.e", "b[x=1]", "c[x=1].n"])
def test_a_path_that_leads_nowhere_says_so(path: str) -> None:
    with pytest.raises(NoSuchItem) as nowhere:
        look_up(DOCUMENT, path)
    assert not isinstance(nowhere.value, NoneLikeIt)


def test_a_list_without_such_an_item_is_no_fault() -> None:
    with pytest.raises(NoneLikeIt):
        look_up(DOCUMENT, "a[id=none].n")
