"""Matching: what fits, and what is said of what does not."""

from __future__ import annotations

from typing import Any

import pytest

from spec.expect import ABSENT, check_expected, differences

FITS: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": {"b": []}}, {"a": {"b": [], "c": 1}}),
    ([1, {"a": 2}], [1, {"a": 2, "b": 3}]),
    (None, None),
    ({"$type": "int"}, 3),
    ({"$type": "number"}, 3.5),
    ({"$type": "number"}, 3),
    ({"$type": "null"}, None),
    ({"$type": "map"}, {}),
    ({"$matches": "^r.*[0-9]$"}, "router-1"),
    ({"$one_of": [200, {"$at_least": 500}]}, 503),
    ({"$absent": True}, ABSENT),
    ({"$absent": False}, None),
    ({"a": {"$absent": True}}, {}),
    ({"$contains": [{"id": 2}]}, [{"id": 1}, {"id": 2, "x": 0}]),
    ({"$contains": []}, []),
    ({"$contains": "out"}, "router"),
    ({"$unordered": [{"$type": "int"}, 1]}, [1, 2]),  # the first fits both, and must not take the second's only one
    ({"$unordered": []}, []),
    ({"$each": {"$type": "str"}}, ["a", "b"]),
    ({"$each": 1}, []),
    ({"$sorted": "id"}, [{"id": "B"}, {"id": "a"}, {"id": "a"}]),  # by code point
    ({"$sorted": True}, [1, 2, 10]),
    ({"$at_least": 2, "$at_most": 2}, 2),
    ({"$length": 2}, {"a": 1, "b": 2}),
    ({"$length": 0}, ""),
    ({"$yaml": {"sie_id": "a/b"}}, "sie_id: a/b\nprofiles: {}\n"),
    ({"all": {"$sum": ["some", "rest.0"]}}, {"all": 3, "some": 1, "rest": [2]}),
    ({"$not": 1}, 2),
    ({"$not": 1}, ABSENT),
]

DIFFERS: list[tuple[Any, Any]] = [
    ({"a": 1}, {}),
    ({"a": 1}, [1]),
    ([1], [1, 2]),
    ([1, 2], [2, 1]),
    ([], {}),
    (1, True),
    (True, 1),
    (1, 1.0),
    (1, "1"),
    (None, False),
    (None, ABSENT),
    ({"$type": "int"}, True),
    ({"$type": "int"}, 1.0),
    ({"$type": "number"}, "1"),
    ({"$type": "list"}, ABSENT),
    ({"$matches": "^a"}, "ba"),
    ({"$matches": "1"}, 1),
    ({"$one_of": [1, 2]}, 3),
    ({"$one_of": [1, 2]}, ABSENT),
    ({"$absent": True}, None),
    ({"$absent": False}, ABSENT),
    ({"$contains": [1, 2]}, [1, 3]),
    ({"$contains": "out"}, ["out"]),
    ({"$contains": [1]}, ABSENT),
    ({"$unordered": [1, 1]}, [1, 2]),
    ({"$unordered": [1]}, [1, 1]),
    ({"$unordered": [1]}, {"1": 1}),
    ({"$each": 1}, [1, 2]),
    ({"$each": 1}, {}),
    ({"$sorted": "id"}, [{"id": 2}, {"id": 1}]),
    ({"$sorted": "id"}, [{"id": 1}, {}]),
    ({"$sorted": True}, [1, "2"]),
    ({"$sorted": True}, "ab"),
    ({"$at_least": 2}, 1),
    ({"$at_least": 0}, True),
    ({"$at_most": 2}, 3),
    ({"$length": 1}, "ab"),
    ({"$length": 1}, 1),
    ({"$yaml": {"a": 1}}, "a: 2"),
    ({"$yaml": {"a": 1}}, "a: ["),
    ({"$yaml": {"a": 1}}, {"a": 1}),
    ({"all": {"$sum": ["some", "rest"]}}, {"all": 4, "some": 1, "rest": 2}),
    ({"all": {"$sum": ["some", "rest"]}}, {"all": 1, "some": 1}),
    ({"$not": {"$type": "str"}}, "a"),
]


@pytest.mark.parametrize(("expected", "actual"), FITS, ids=repr)
def test_it_fits(expected: Any, actual: Any) -> None:
    assert differences(expected, actual, document=actual) == []
    assert check_expected(expected) == []


@pytest.mark.parametrize(("expected", "actual"), DIFFERS, ids=repr)
def test_it_differs(expected: Any, actual: Any) -> None:
    assert differences(expected, actual, document=actual) != []


def test_every_difference_says_where_it_is_what_was_expected_and_what_came() -> None:
    expected = {"models": [{"model_id": "a/b", "profiles": ["default"]}], "warnings": [], "count": {"$at_least": 1}}
    actual = {"models": [{"model_id": "a/c", "profiles": ["default", "x"]}], "count": 0}
    assert [str(one) for one in differences(expected, actual, "json")] == [
        'json.models[0].model_id: expected "a/b", got "a/c"',
        'json.models[0].profiles: expected ["default"], got ["default", "x"]',
        "json.warnings: expected [], got nothing",
        "json.count: expected a number of 1 or more, got 0",
    ]


def test_a_long_value_is_cut() -> None:
    (one,) = differences("short", "x" * 5000)
    assert len(one.actual) < 700
    assert "5002 characters" in one.actual


@pytest.mark.parametrize(
    "expected",
    [
        {"$type": "integer"},
        {"$matches": "("},
        {"$matches": 1},
        {"$one_of": [1]},
        {"$one_of": "ab"},
        {"$absent": 1},
        {"$at_least": "many"},
        {"$length": True},
        {"$sum": "a"},
        {"$sorted": False},
        {"$typ": "int"},
        {"$type": "int", "a": 1},
        {"a": [{"$each": {"$type": "integer"}}]},
    ],
    ids=repr,
)
def test_a_matcher_that_is_wrong_is_found_before_it_is_used(expected: Any) -> None:
    assert check_expected(expected) != []
