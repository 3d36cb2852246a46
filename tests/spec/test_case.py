"""Reading cases: the schema bites, and it is a real JSON Schema."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import yaml

from spec import schema
from spec.case import CASES, BadCase, Reader, case_schema, read_case, read_cases

WHOLE = """
clause: C-001
shows: A model is listed.
steps:
  - get: /v1/configs/models
    on: router2
    expect: {status: 200}
"""


def changed(**keys: Any) -> str:
    return yaml.safe_dump({**yaml.load(WHOLE, Reader), **keys})


def test_a_case_is_read_as_it_is_meant() -> None:
    case = read_case(WHOLE, "listing/lists")
    assert (case.name, case.group, case.stem, case.needs, case.alone) == (
        "listing/lists",
        "listing",
        "lists",
        (),
        False,
    )
    assert case.steps[0]["on"] == "router2"  # in YAML 1.1 that key is `true`
    assert read_case(changed(alone=True), "a/b").alone
    assert read_case(changed(steps=[{"restart": True}]), "a/b").alone
    assert read_case(changed(steps=[{"get": "/", "expect": {"within_s": 1}}]), "a/b").alone
    assert not read_case(changed(steps=[{"get": "/", "until": "x", "expect": {"within_s": 1}}]), "a/b").alone


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"clause": "C-1"}, "clause"),
    ({"clause": None}, "clause"),
    ({"shows": " It is listed."}, "shows"),
    ({"shows": "It is listed"}, "shows"),
    ({"needs": ["routers"]}, "needs[0]"),
    ({"steps": []}, "steps"),
    ({"note": "x"}, "note"),
    ({"steps": [{"fetch": "/"}]}, "fetch"),
    ({"steps": [{"get": "v1"}]}, "steps[0].get"),
    ({"steps": [{"get": "/", "post": "/"}]}, "several"),
    ({"steps": [{"get": "/", "as": "root"}]}, "steps[0].as"),
    ({"steps": [{"get": "/", "expect": {}}]}, "expect"),
    ({"steps": [{"get": "/", "expect": {"code": 200}}]}, "code"),
    ({"steps": [{"get": "/", "expect": {"text": {"has": "x"}}}]}, "has"),
    ({"steps": [{"get": "/", "expect": {"within_s": "1"}}]}, "within_s"),
    ({"steps": [{"get": "/", "expect": {"within_s": -1}}]}, "within_s"),
    ({"steps": [{"post": "/", "cured": {}}]}, "cured"),
    ({"steps": [{"post": "/", "cured": {"expect": {"status": 200}}}]}, "expect"),
    ({"steps": [{"heard": {"json": {}}}]}, "`on`"),
    ({"steps": [{"restart": False}]}, "restart"),
    ({"steps": [{"together": []}]}, "together"),
    ({"steps": [{"repeat_until": {"get": "/", "expect": {"status": 200}}}]}, "within_s"),
    ({"steps": [{"post": "/", "repeat": {"text": "x", "times": 0}}]}, "times"),
]


@pytest.mark.parametrize(("keys", "named"), WRONG, ids=repr)
def test_each_kind_of_wrong_case_is_caught_and_named(keys: dict[str, Any], named: str) -> None:
    with pytest.raises(BadCase) as bad:
        read_case(changed(**keys), "a/b")
    assert named in str(bad.value)
    assert str(bad.value).startswith("a/b: ")


@pytest.mark.parametrize(
    ("text", "named"),
    [("clause: [", "not YAML"), ("[]", "must be object"), (WHOLE + "clause: C-002\n", "clause twice")],
)
def test_what_is_no_case_at_all_is_caught(text: str, named: str) -> None:
    with pytest.raises(BadCase) as bad:
        read_case(text, "a/b")
    assert named in str(bad.value)


def test_the_schema_says_the_same_to_any_validator_of_json_schema() -> None:
    jsonschema: Any = import_module("jsonschema")  # it ships no types
    jsonschema.Draft202012Validator.check_schema(case_schema())
    validator = jsonschema.Draft202012Validator(case_schema())
    for keys, _ in WRONG:
        assert not validator.is_valid(yaml.load(changed(**keys), Reader)), keys
    paths = sorted(CASES.rglob("*.yaml"))
    assert paths
    for path in paths:
        assert validator.is_valid(yaml.load(path.read_text(), Reader)), path


def test_a_keyword_that_is_not_known_is_not_ignored() -> None:
    with pytest.raises(ValueError) as unknown:
        list(schema.faults(1, {"maximum": 0}, {}))
    assert "maximum" in str(unknown.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Any) -> None:
    (tmp_path / "one.yaml").write_text("{}")
    (tmp_path / "two.yaml").write_text("[")
    with pytest.raises(BadCase) as bad:
        read_cases(tmp_path)
    assert "one: " in str(bad.value)
    assert "two: " in str(bad.value)
