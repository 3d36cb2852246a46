"""Bundles: what their files may say, and how they are shown."""

from __future__ import annotations

import pytest

from sie.catalog.bundle import Bundle, read_bundle
from sie.errors import ConfigurationError

SHIPPED = b"""name: sglang
priority: 20
default: false
adapters:
  - sie_server.adapters.sglang
  - sie_server.adapters.sglang
deps:
  sglang: ">=0.4"
  other: {url: "https://example.org/x.whl", version: "1", marker: "x"}
"""


def test_a_bundle_file_of_the_shipped_shape_is_read() -> None:
    bundle = read_bundle(SHIPPED, "file")
    assert bundle == Bundle(bundle_id="sglang", priority=20, adapters=("sie_server.adapters.sglang",))
    assert bundle.document == {
        "name": "sglang",
        "priority": 20,
        "adapters": ["sie_server.adapters.sglang"],
        "source": "filesystem",
    }


def test_the_name_of_the_file_and_priority_100_are_the_defaults() -> None:
    assert read_bundle(b"adapters: [a.b]", "cpu") == Bundle(bundle_id="cpu", priority=100, adapters=("a.b",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"adapters: [a.b]\ntypo: 1", "typo"),
        (b"name: x", "adapters"),
        (b"adapters: []", "adapters"),
        (b"adapters: a.b", "adapters"),
        (b"adapters: ['a.b:Class']", "adapters[0]"),
        (b"adapters: [a.b]\npriority: high", "priority"),
        (b"adapters: [a.b]\npriority: true", "priority"),
        (b"adapters: [2024-01-01]", "adapters[0]"),
        (b"adapters: [", "YAML"),
        *((b"adapters: [a.b]\nname: '%s'" % name, "name") for name in (b"a.b", b"a*", b">", b"a b", b"_all", b"a/b")),
    ],
)
def test_a_broken_bundle_file_is_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_bundle(content, "stem")
    assert "stem" in str(raised.value)
    assert said in str(raised.value)
