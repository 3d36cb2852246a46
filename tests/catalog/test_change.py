"""Changes: every rule of the schema, all faults at once, and what counts as saying nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sie.catalog.canonical import canonical, sha256_hex
from sie.catalog.change import Change, read_change, read_model, read_stored
from sie.catalog.document import write_document
from sie.errors import ConfigurationError, InvalidModelId, ParseError, PayloadTooLarge, ValidationError
from tests.catalog.made import DENSE, LIMITS
from tests.pages import FULL, PAGE_ID

DEFAULT = {"default": {"adapter_path": DENSE}}


def body(**top: Any) -> bytes:
    return write_document({"sie_id": "org/model", "profiles": DEFAULT, **top}).encode()


def read(**top: Any) -> Change:
    return read_change(body(**top), LIMITS)


def profile(**content: Any) -> Change:
    return read(profiles={"default": {"adapter_path": DENSE, **content}})


def faults(given: bytes, limits: Any = LIMITS) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        read_change(given, limits)
    return {one["path"]: one["message"] for one in raised.value.fields["details"]}


def test_the_full_example_of_the_page_is_read_in_document_order() -> None:
    change = read_change(FULL, LIMITS)
    assert change.model_id == PAGE_ID
    assert list(change.profiles) == ["default", "financial"]
    assert change.fields == {
        "hf_id": PAGE_ID,
        "inputs": {"text": True},
        "tasks": {"encode": {"dense": {"dim": 768}}},
    }
    assert change.profiles["default"].content == {
        "adapter_path": DENSE,
        "max_batch_tokens": 8192,
        "adapter_options": {"runtime": {"normalize": True, "pooling": "mean"}},
    }
    assert change.profiles["financial"].extends == "default"
    assert change.body_hash == sha256_hex(FULL)


@pytest.mark.parametrize(
    "content",
    [
        {"adapter_options": None},
        {"adapter_options": {}},
        {"adapter_options": {"loadtime": {}, "runtime": {}}},
        {"adapter_options": {"loadtime": None}},
        {"adaptive_batching": {}},
        {"adaptive_batching": {"gain": None}},
        {"compute_precision": None, "max_batch_tokens": None, "extends": None},
    ],
    ids=str,
)
def test_absent_null_and_empty_are_one_thing_in_a_profile(content: dict[str, Any]) -> None:
    assert profile(**content).profiles["default"].canonical == profile().profiles["default"].canonical


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": None},
        {"inputs": {}},
        {"tasks": {}},
        {"tasks": {"encode": None, "score": None}},
        {"tasks": {"encode": {"dense": None}}},
        {"hf_id": None, "hf_revision": None, "weights_path": None, "max_sequence_length": None},
    ],
    ids=str,
)
def test_absent_null_and_empty_are_one_thing_at_the_top(fields: dict[str, Any]) -> None:
    assert read(**fields).fields == {}


def test_the_presence_of_score_says_something_and_nulls_inside_free_maps_stay() -> None:
    assert read(tasks={"score": {}, "extract": None}).fields == {"tasks": {"score": {}}}
    options = {"runtime": {"b": None, "a": [{"d": 1, "c": {}}]}}
    assert profile(adapter_options=options).profiles["default"].runtime == options["runtime"]


def test_the_order_of_keys_in_a_body_changes_nothing_of_what_is_kept() -> None:
    one = profile(adapter_options={"runtime": {"a": 1, "b": {"c": 1, "d": 2}}})
    other = profile(adapter_options={"runtime": {"b": {"d": 2, "c": 1}, "a": 1}})
    written = [write_document(change.profiles["default"].content) for change in (one, other)]
    assert written[0] == written[1]


BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"bundle": "x"}, "bundle"),
    "hub id without organisation": ({"hf_id": "model"}, "hf_id"),
    "absolute path as hub id": ({"hf_id": "/etc/passwd"}, "hf_id"),
    "relative path as hub id": ({"hf_id": "../model"}, "hf_id"),
    "parent in hub id": ({"hf_id": "org/.."}, "hf_id"),
    "two slashes in hub id": ({"hf_id": "a/b/c"}, "hf_id"),
    "number as hub id": ({"hf_id": 3}, "hf_id"),
    "newline in hub id": ({"hf_id": "a/b\n"}, "hf_id"),
    "odd revision": ({"hf_revision": "a b"}, "hf_revision"),
    "parent in revision": ({"hf_revision": "refs/../x"}, "hf_revision"),
    "long revision": ({"hf_revision": "x" * 129}, "hf_revision"),
    "inputs a list": ({"inputs": ["text"]}, "inputs"),
    "inputs a number": ({"inputs": {"text": 1}}, "inputs.text"),
    "unknown input": ({"inputs": {"smell": True}}, "inputs.smell"),
    "unknown task": ({"tasks": {"sing": {}}}, "tasks.sing"),
    "no dim": ({"tasks": {"encode": {"dense": {}}}}, "tasks.encode.dense.dim"),
    "dim zero": ({"tasks": {"encode": {"dense": {"dim": 0}}}}, "tasks.encode.dense.dim"),
    "something in score": ({"tasks": {"score": {"dim": 3}}}, "tasks.score.dim"),
    "score true": ({"tasks": {"score": True}}, "tasks.score"),
    "length true": ({"max_sequence_length": True}, "max_sequence_length"),
    "length huge": ({"max_sequence_length": 2**40}, "max_sequence_length"),
    "profiles a list": ({"profiles": ["default"]}, "profiles"),
    "profiles empty": ({"profiles": {}}, "profiles"),
    "profiles null": ({"profiles": None}, "profiles"),
    "profiles text": ({"profiles": "default"}, "profiles"),
    "profile null": ({"profiles": {"default": None}}, "profiles.default"),
    "profile a list": ({"profiles": {"default": []}}, "profiles.default"),
    "profile empty": ({"profiles": {"default": {}}}, "profiles.default.adapter_path"),
    "profile name": ({"profiles": {"a b": {"adapter_path": DENSE}}}, "profiles.a b"),
    "profile name long": ({"profiles": {"x" * 65: {"adapter_path": DENSE}}}, f"profiles.{'x' * 65}"),
    "id null": ({"sie_id": None}, "sie_id"),
    "id empty": ({"sie_id": ""}, "sie_id"),
    "id a number": ({"sie_id": 3}, "sie_id"),
    "id a list": ({"sie_id": ["a"]}, "sie_id"),
}


@pytest.mark.parametrize(("top", "path"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_wrong_field_is_a_fault_at_its_path(top: dict[str, Any], path: str) -> None:
    assert list(faults(body(**top))) == [path]


BAD_PROFILES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"batch": 1}, "batch"),
    "negative tokens": ({"max_batch_tokens": -1}, "max_batch_tokens"),
    "no tokens": ({"max_batch_tokens": 0}, "max_batch_tokens"),
    "true tokens": ({"max_batch_tokens": True}, "max_batch_tokens"),
    "float tokens": ({"max_batch_tokens": 1.0}, "max_batch_tokens"),
    "text tokens": ({"max_batch_tokens": "8192"}, "max_batch_tokens"),
    "huge tokens": ({"max_batch_tokens": 1_048_577}, "max_batch_tokens"),
    "precision": ({"compute_precision": "float64"}, "compute_precision"),
    "adapter without class": ({"adapter_path": "some.module"}, "adapter_path"),
    "adapter in a file": ({"adapter_path": "adapter.py:Mine"}, "adapter_path"),
    "adapter under a path": ({"adapter_path": "dir/adapter:Mine"}, "adapter_path"),
    "adapter too long": ({"adapter_path": f"{'a' * 250}.b:Mine"}, "adapter_path"),
    "adapter a list": ({"adapter_path": ["x"]}, "adapter_path"),
    "extends a number": ({"extends": 3}, "extends"),
    "options a list": ({"adapter_options": []}, "adapter_options"),
    "another option": ({"adapter_options": {"other": {}}}, "adapter_options.other"),
    "loadtime a list": ({"adapter_options": {"loadtime": [1]}}, "adapter_options.loadtime"),
    "gain text": ({"adaptive_batching": {"gain": "x"}}, "adaptive_batching.gain"),
    "gain true": ({"adaptive_batching": {"gain": True}}, "adaptive_batching.gain"),
    "unknown gain": ({"adaptive_batching": {"loss": 1.0}}, "adaptive_batching.loss"),
}


@pytest.mark.parametrize(("content", "path"), BAD_PROFILES.values(), ids=BAD_PROFILES)
def test_a_wrong_part_of_a_profile_is_a_fault_at_its_path(content: dict[str, Any], path: str) -> None:
    found = faults(body(profiles={"default": {"adapter_path": DENSE, **content}}))
    assert list(found) == [f"profiles.default.{path}"]


def test_all_faults_are_found_at_once_those_of_the_document_included() -> None:
    found = faults(
        b"sie_id: org/model\nhf_id: x\nmore: 1\nprofiles:\n  default: {max_batch_tokens: 2024-01-01}\n"
        b"  medical:\n    adapter_path: a.b:C\n    max_batch_tokens: -3\n    adapter_options: {runtime: {1: x}}\n"
    )
    assert set(found) == {
        "hf_id",
        "more",
        "profiles.default.max_batch_tokens",
        "profiles.default.adapter_path",
        "profiles.medical.max_batch_tokens",
        "profiles.medical.adapter_options.runtime.1",
    }


def test_a_faulty_value_is_faulted_once() -> None:
    assert list(faults(b"sie_id: 2024-01-01\nprofiles: 2024-01-01\n")) == ["sie_id", "profiles"]


@pytest.mark.parametrize(
    "sie_id",
    [
        *("a/../b", "..", "a/./b", "a\\b", "a__b", "a//b", "a/", "/a", ".a", "a b", "é", "a\n", "a\x07", "a:b"),
        *("x" * 257, "status", "a/status", "a/STATUS"),
    ],
)
def test_an_id_that_breaks_a_rule_is_refused_before_the_schema(sie_id: str) -> None:
    with pytest.raises(InvalidModelId) as raised:
        read_change(body(sie_id=sie_id, profiles=[]), LIMITS)
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 250


@pytest.mark.parametrize("sie_id", ["a", "A/b.c-d_e", "a/b/c", "status/a", "x" * 256])
def test_good_ids(sie_id: str) -> None:
    assert read(sie_id=sie_id).model_id == sie_id


def test_size_comes_before_parsing_and_parsing_before_the_id() -> None:
    with pytest.raises(PayloadTooLarge):
        read_change(b"[" * (128 * 1024 + 1), LIMITS)
    with pytest.raises(ParseError):
        read_change(b"sie_id: a__b\nsie_id: b\n", LIMITS)


def test_profiles_lost_in_a_comment_of_a_joined_line_name_the_cure() -> None:
    with pytest.raises(ValidationError) as raised:
        read_change(b"sie_id: a/b # my modelprofiles:  default:    adapter_path: x", LIMITS)
    assert "--data-binary" in raised.value.message


@pytest.mark.parametrize("path", ["a/b", "/weights/a", "/weights", "./a", "a/../b"])
def test_a_weights_path_lies_under_the_root(path: str) -> None:
    change = read_change(body(weights_path=path), replace(LIMITS, weights_root="/weights"))
    assert change.fields["weights_path"] == path


@pytest.mark.parametrize(
    "path", ["/etc", "../a", "a/../../b", "/weights/../etc", "/weightsx", "a\0b", "~/../../x/../../y"]
)
def test_a_weights_path_elsewhere_is_refused(path: str) -> None:
    assert list(faults(body(weights_path=path), replace(LIMITS, weights_root="/weights/"))) == ["weights_path"]


def test_without_a_root_no_weights_path_is_taken() -> None:
    assert "SIE_WEIGHTS_ROOT" in faults(body(weights_path="a"))["weights_path"]


def test_a_body_has_at_most_as_many_profiles_as_a_model() -> None:
    assert list(faults(body(profiles={f"p{one}": {"extends": "p0"} for one in range(257)}))) == ["profiles"]


# -- files


def file(**top: Any) -> bytes:
    return body(**top)


def test_a_file_may_name_any_adapter_and_any_weights() -> None:
    content = file(
        hf_id="local-name", weights_path="/anywhere", profiles={"default": {"adapter_path": "my/adapter.py:Mine"}}
    )
    model = read_model(content, name="org__model.yaml")
    assert model.source == "filesystem"
    assert model.revision == 0
    assert model.created == {"default": 0}
    assert model.adapter_path("default") == "my/adapter.py:Mine"
    assert canonical(model.fields) == canonical({"hf_id": "local-name", "weights_path": "/anywhere"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (file(typo=1), "typo"),
        (b"sie_id: [", "YAML"),
        (b"", "empty"),
        (file(sie_id="a__b"), "__"),
        (file(profiles={"other": {"adapter_path": DENSE}}), "profiles.default"),
        (file(profiles={"default": {"extends": "default"}}), "extends"),
        (file(profiles={"default": {"adapter_path": DENSE}, "a": {"extends": "b"}}), "profiles.a.extends"),
    ],
)
def test_a_broken_file_is_refused_by_its_name(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_model(content, name="broken.yaml")
    assert "broken.yaml" in str(raised.value)
    assert said in str(raised.value)


def test_a_document_of_an_older_store_is_read_as_leniently_as_a_file() -> None:
    change = read_stored(file(hf_id="local-name", profiles={"default": {"adapter_path": "my/adapter.py:Mine"}}))
    assert change.fields == {"hf_id": "local-name"}
    with pytest.raises(ValidationError):
        read_stored(file(typo=1))
