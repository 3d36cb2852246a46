"""Requests are read strictly, and what is wrong with one is said with its path."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import InvalidInput
from sie.wire.inference import Item
from sie.wire.requests import Limits, read_encode, read_score

LIMITS = Limits(items=5, text_bytes=100, values=1_000)
MSGPACK = "application/msgpack"


def encode_json(value: Any) -> Any:
    return read_encode(orjson.dumps(value), "application/json", LIMITS)


def refused(value: Any, read: Any = encode_json) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(value)
    return caught.value


FULL = {
    "items": [{"text": "a", "id": "1", "metadata": {"kind": "x"}, "unknown": 3}, {"text": "", "images": None}],
    "params": {
        "output_types": ["dense", "sparse"],
        "output_dtype": "int8",
        "instruction": "Find:",
        "options": {"profile": "medical", "normalize": True, "nothing": None},
    },
}


@pytest.mark.parametrize("content_type", ["application/msgpack", "Application/X-MsgPack; q=1", None, "text/plain"])
def test_json_and_msgpack_read_the_same(content_type: str | None) -> None:
    packed = content_type is not None and "msg" in content_type.lower()
    content = msgpack.packb(FULL) if packed else orjson.dumps(FULL)
    request = read_encode(content, content_type, LIMITS)
    assert request.items == (Item("a", "1"), Item("", None))
    assert request.output_types == ["dense", "sparse"]
    assert request.output_dtype == "int8"
    assert request.instruction == "Find:"
    assert request.options == {"profile": "medical", "normalize": True}


def test_null_is_absent_everywhere() -> None:
    request = encode_json({"items": [{"text": "a", "id": None}], "params": None})
    assert (request.output_types, request.output_dtype, request.instruction, request.options) == (None, None, None, {})
    nulls = {"output_types": None, "output_dtype": None, "instruction": None, "options": None}
    assert encode_json({"items": [{"text": "a"}], "params": nulls}) == request


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "items"),
        ({"items": None}, "items"),
        ({"items": []}, "items"),
        ({"items": {}}, "items"),
        ({"items": "text"}, "items"),
        ({"items": ["text"]}, "items[0]"),
        ({"items": [{"text": "a"}, {}]}, "items[1].text"),
        ({"items": [{"text": "a"}, {"text": None}]}, "items[1].text"),
        ({"items": [{"text": 7}]}, "items[0].text"),
        ({"items": [{"text": True}]}, "items[0].text"),
        ({"items": [{"text": ["a"]}]}, "items[0].text"),
        ({"items": [{"text": "a", "id": 7}]}, "items[0].id"),
        ({"items": [{"text": "a", "metadata": []}]}, "items[0].metadata"),
        ({"items": [{"text": "a", "images": [{"data": "x"}]}]}, "items[0].images"),
        ({"items": [{"audio": {"data": "x"}}]}, "items[0].audio"),
        ({"items": [{"video": {"data": "x"}}]}, "items[0].video"),
        ({"items": [{"text": "a"}] * 6}, "items"),
        ({"items": [{"text": "x" * 101}]}, "items[0].text"),
        ({"items": [{"text": "é" * 51}]}, "items[0].text"),
        ({"items": [{"text": "a"}], "params": []}, "params"),
        ({"items": [{"text": "a"}], "params": {"output_types": "dense"}}, "params.output_types"),
        ({"items": [{"text": "a"}], "params": {"output_types": [1]}}, "params.output_types"),
        ({"items": [{"text": "a"}], "params": {"output_dtype": 1}}, "params.output_dtype"),
        ({"items": [{"text": "a"}], "params": {"instruction": {}}}, "params.instruction"),
        ({"items": [{"text": "a"}], "params": {"options": [1]}}, "params.options"),
    ],
)
def test_a_fault_is_named_by_its_path(body: Any, path: str) -> None:
    assert refused(body).fields["path"] == path


def test_empty_items_get_the_sentence_that_clients_of_v0_1_10_know() -> None:
    assert refused({"items": []}).message == "Field 'items' must not be empty"


@pytest.mark.parametrize("text", ["x" * 100, "é" * 50, "😀" * 25])
def test_a_text_may_be_as_long_as_its_limit_in_utf_8(text: str) -> None:
    assert encode_json({"items": [{"text": text}]}).items[0].text == text


@pytest.mark.parametrize("body", [[], "text", 3, None, True])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    refused(body)
    refused(body, lambda value: read_encode(msgpack.packb(value), MSGPACK, LIMITS))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"items": [{"text": "a"}]',
        b'{"items": NaN}',
        b"[" * 2_000,
        b'{"items": ["\xed\xa0\x80"]}',
        b'{"items": ' + b"[" * 1_001 + b"]" * 1_001 + b"}",
    ],
    ids=lambda content: content[:10].decode("latin-1"),
)
def test_malformed_json_is_refused(content: bytes) -> None:
    refused(content, lambda value: read_encode(value, None, LIMITS))


@pytest.mark.parametrize(
    "flood",
    [b"7", b'""', b"[]", b"{}", b"null", b'"\\""', b'"\\\\"', b'{"a":""}'],
    ids=lambda flood: flood.decode(),
)
def test_a_flood_of_values_is_refused_before_it_is_parsed(flood: bytes) -> None:
    content = b'{"items": [{"text": "a"}], "params": {"options": {"x": [%s]}}}'
    assert read_encode(content % b",".join([flood] * 400), None, LIMITS).options
    fault = refused(content % b",".join([flood] * 1_001), lambda value: read_encode(value, None, LIMITS))
    assert "too many values" in fault.message


@pytest.mark.parametrize("text", [",", "[", "{", '"', '\\",', "\\\\[", '",[{'], ids=repr)
def test_what_a_text_holds_is_no_value(text: str) -> None:
    limits = Limits(items=5, text_bytes=100_000, values=100)
    whole = text * 1_000
    assert read_encode(orjson.dumps({"items": [{"text": whole}] * 3}), None, limits).items[2].text == whole


def test_binary_values_have_no_place_in_options() -> None:
    deep: Any = b"x"
    for _ in range(400):
        deep = [deep]
    body = {"items": [{"text": "a"}], "params": {"options": {"deep": deep}}}
    fault = refused(body, lambda value: read_encode(msgpack.packb(value), MSGPACK, LIMITS))
    assert fault.fields["path"] == "params.options"


def test_an_array_where_a_vector_could_be_is_refused() -> None:
    body = {"items": [{"text": "a", "multivector": {b"nd": True, b"type": "<f4", b"shape": [0], b"data": b""}}]}
    refused(body, lambda value: read_encode(msgpack.packb(value), MSGPACK, LIMITS))


def test_score_reads_query_and_items() -> None:
    body = {"query": {"text": "q", "id": "Q"}, "items": [{"text": "a"}], "instruction": "i", "options": {"x": 1}}
    request = read_score(orjson.dumps(body), None, LIMITS)
    assert (request.query, request.items) == (Item("q", "Q"), (Item("a"),))
    assert (request.instruction, request.options) == ("i", {"x": 1})


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"items": [{"text": "a"}]}, "query"),
        ({"query": "q", "items": [{"text": "a"}]}, "query"),
        ({"query": {"images": [1]}, "items": [{"text": "a"}]}, "query.images"),
        ({"query": {"text": "q"}, "items": []}, "items"),
        ({"query": {"text": "q"}, "items": [{"text": "a"}], "options": 1}, "options"),
    ],
)
def test_a_fault_in_a_score_request_is_named_by_its_path(body: Any, path: str) -> None:
    assert refused(body, lambda value: read_score(orjson.dumps(value), None, LIMITS)).fields["path"] == path


LEAF = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8)
ANY = st.recursive(
    LEAF, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=4), one, max_size=3), max_leaves=6
)
FIELDS = st.sampled_from(
    ["items", "query", "params", "options", "text", "id", "instruction", "output_types", "metadata"]
)
NEARLY = st.recursive(
    ANY, lambda one: st.lists(one, max_size=3) | st.dictionaries(FIELDS, one, max_size=5), max_leaves=12
)


@given(st.dictionaries(FIELDS, NEARLY), st.sampled_from([read_encode, read_score]))
def test_any_document_is_a_request_or_invalid_input(body: Any, read: Any) -> None:
    for content, kind in ((orjson.dumps(body), None), (msgpack.packb(body), MSGPACK)):
        with suppress(InvalidInput):
            read(content, kind, LIMITS)


@given(st.binary(max_size=200), st.sampled_from([None, MSGPACK]))
def test_any_bytes_are_a_request_or_invalid_input(content: bytes, kind: str | None) -> None:
    for read in (read_encode, read_score):
        with pytest.raises(InvalidInput):
            read(content, kind, LIMITS)
