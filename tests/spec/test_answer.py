"""What a case expects of an HTTP answer, and requests as they are sent."""

from __future__ import annotations

from typing import Any

import pytest

from spec.answer import Answer, Unreadable, judge
from spec.refusal import cure, is_refusal
from spec.request import Tokens, read_request

ANSWER = Answer(
    status=201,
    headers={"content-type": "application/json; charset=utf-8", "x-revision": "7"},
    body=b'{"model_id": "a/b", "acked": 1, "pending": 0, "total": 1}',
    seconds=0.5,
)
YAML = Answer(status=200, headers={}, body=b"sie_id: a/b\n", seconds=0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ANSWER, {"status": 201}),
        (ANSWER, {"status": [200, 201]}),
        (ANSWER, {"status": {"$at_least": 200}}),
        (
            ANSWER,
            {"headers": {"Content-Type": "application/JSON", "etag": None, "X-Revision": {"$matches": "^[0-9]+$"}}},
        ),
        (ANSWER, {"json": {"total": {"$sum": ["acked", "pending"]}}}),
        (ANSWER, {"json": {"$type": "map"}, "within_s": 0.5}),
        (ANSWER, {"text": {"contains": "a/b", "matches": "acked.: 1", "not_contains": "error"}}),
        (YAML, {"yaml": {"sie_id": "a/b"}, "text": "sie_id: a/b\n"}),
        (YAML, {"text": {"equals": "sie_id: a/b\n"}}),
    ],
)
def test_an_answer_as_expected(answer: Answer, expected: dict[str, Any]) -> None:
    assert judge(expected, answer) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ANSWER, {"status": 200}),
        (ANSWER, {"status": [200, 409]}),
        (ANSWER, {"headers": {"content-type": "application/x-yaml"}}),
        (ANSWER, {"headers": {"etag": "x"}}),
        (ANSWER, {"headers": {"X-Revision": None}}),
        (ANSWER, {"headers": {"etag": {"$matches": "x"}}}),
        (ANSWER, {"json": {"acked": 2}}),
        (ANSWER, {"within_s": 0.4}),
        (ANSWER, {"text": {"contains": "a/c"}}),
        (ANSWER, {"text": {"not_contains": "a/b"}}),
        (ANSWER, {"text": {"matches": "^a"}}),
        (YAML, {"json": {}}),
        (YAML, {"text": "sie_id: a/b"}),
        (Answer(status=200, headers={}, body=b"a: [", seconds=0), {"yaml": {}}),
    ],
)
def test_an_answer_that_differs(answer: Answer, expected: dict[str, Any]) -> None:
    assert len(judge(expected, answer)) == 1


def test_what_is_nested_beyond_reading_is_unreadable() -> None:
    answer = Answer(status=200, headers={}, body=b"[" * 100_000, seconds=0)
    for part in ("json", "yaml"):
        with pytest.raises(Unreadable):
            answer.document(part)


BOTH = Tokens(admin="boss", reader="guest")


@pytest.mark.parametrize(
    ("step", "tokens", "shown"),
    [
        ({"get": "/"}, BOTH, "Bearer guest"),
        ({"post": "/"}, BOTH, "Bearer boss"),
        ({"get": "/"}, Tokens(admin="boss"), "Bearer boss"),
        ({"post": "/"}, Tokens(reader="guest"), "Bearer guest"),
        ({"post": "/"}, Tokens(), None),
        ({"post": "/", "as": "reader"}, BOTH, "Bearer guest"),
        ({"get": "/", "as": "nobody"}, BOTH, None),
        ({"get": "/", "as": "empty"}, BOTH, "Bearer "),
        ({"get": "/", "headers": {"authorization": "boss"}}, BOTH, "boss"),
        ({"get": "/", "headers": {"authorization": None}}, BOTH, None),
    ],
)
def test_a_role_shows_its_token(step: dict[str, Any], tokens: Tokens, shown: str | None) -> None:
    headers = {name.lower(): value for name, value in read_request(step, tokens).headers.items()}
    assert headers.get("authorization") == shown


def test_a_wrong_token_is_none_of_the_target() -> None:
    shown = read_request({"get": "/", "as": "wrong"}, BOTH).headers["Authorization"]
    assert shown.startswith("Bearer ")
    assert shown not in ("Bearer boss", "Bearer guest")


@pytest.mark.parametrize(
    ("step", "body", "content_type"),
    [
        ({"body": "a: 1\n"}, b"a: 1\n", "application/x-yaml"),
        ({"json": {"b": 1, "a": "é"}}, '{"b": 1, "a": "é"}'.encode(), "application/json"),
        ({"base64": "//4="}, b"\xff\xfe", "application/x-yaml"),
        ({"repeat": {"before": "<", "text": "ab", "times": 3, "after": ">"}}, b"<ababab>", "application/x-yaml"),
        ({"body": "a", "headers": {"content-type": "text/plain"}}, b"a", "text/plain"),
        ({"body": "a", "headers": {"Content-Type": None}}, b"a", None),
        ({}, None, None),
    ],
)
def test_a_body_is_sent_as_it_is_written(step: dict[str, Any], body: bytes | None, content_type: str | None) -> None:
    request = read_request({"post": "/v1/é x", **step}, Tokens())
    assert (request.body, request.target) == (body, "/v1/%C3%A9%20x")
    assert {name.lower(): value for name, value in request.headers.items()}.get("content-type") == content_type


def test_what_is_cured_differs_in_what_is_given_only() -> None:
    step = {
        "post": "/v1/configs/models",
        "as": "admin",
        "body": "x: [",
        "headers": {"a": "b"},
        "expect": {"status": 400},
    }
    assert cure({**step, "cured": "x: []"})["body"] == "x: []"
    changed = cure({**step, "cured": {"json": {"x": 1}, "headers": {}}})
    assert (changed["json"], changed["headers"], changed["as"], "body" in changed) == ({"x": 1}, {}, "admin", False)


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        ({"post": "/v1/configs/models", "expect": {"status": 422}}, True),
        ({"post": "/v1/configs/models?dry_run=true", "expect": {"status": [400, 413]}}, True),
        ({"post": "/v1/configs/models", "expect": {"status": 401}}, True),
        ({"post": "/v1/configs/models", "expect": {"status": [409, 201]}}, True),
        ({"post": "/v1/configs/models", "expect": {"status": 503}}, False),
        ({"post": "/v1/configs/models", "expect": {"status": 201}}, False),
        ({"post": "/v1/configs/models", "expect": {"status": {"$not": 500}}}, False),
        ({"post": "/v1/configs/resolve", "expect": {"status": 400}}, False),
        ({"get": "/v1/configs/models", "expect": {"status": 400}}, False),
    ],
)
def test_what_counts_as_a_refusal(step: dict[str, Any], refusal: bool) -> None:
    assert is_refusal(step) is refusal
