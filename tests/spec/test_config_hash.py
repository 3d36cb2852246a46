"""The suite's own bundle_config_hash, against literal bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml

from spec.case import HERE
from spec.config_hash import bundle_config_hash, hashed_text

VECTORS: list[dict[str, Any]] = yaml.safe_load((HERE / "vectors" / "bundle_config_hash.yaml").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[one["name"] for one in VECTORS])
def test_a_golden_value_is_met(vector: dict[str, Any]) -> None:
    assert hashed_text(vector["models"]) == vector["text"]
    assert bundle_config_hash(vector["models"]) == vector["sha256"]
    assert hashlib.sha256(vector["text"].encode()).hexdigest() == vector["sha256"]


def test_models_are_ordered_and_profiles_too() -> None:
    two = [{"sie_id": "b/a", "profiles": {"z": {}, "a": {}}}, {"sie_id": "a/b", "profiles": {"default": {}}}]
    assert bundle_config_hash(two) == bundle_config_hash(reversed(two))
    text = hashed_text(two)
    assert text.index('"a/b"') < text.index('"b/a"')
    assert text.index('"name":"a"') < text.index('"name":"z"')


def test_no_models_hash_to_nothing() -> None:
    assert bundle_config_hash([]) == ""


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({}, "null"),
        ({"loadtime": {}, "runtime": {}}, "null"),
        ({"runtime": None}, "null"),
        ({"runtime": {"a": 1e-05}}, '{"loadtime":{},"runtime":{"a":1e-05}}'),
        ({"loadtime": {"b": "é\x7f"}}, '{"loadtime":{"b":"\\u00e9\\u007f"},"runtime":{}}'),
    ],
    ids=repr,
)
def test_options_are_written_with_both_parts_in_ascii(options: dict[str, Any], written: str) -> None:
    model = {"sie_id": "a/b", "profiles": {"default": {"adapter_path": "m:C", "adapter_options": options}}}
    assert f'"adapter_options":{written},' in hashed_text([model])
