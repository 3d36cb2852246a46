"""Idempotency keys: which answer each stands for, and when it is forgotten."""

from __future__ import annotations

from sie.catalog.keys import Keys, Remembered, UnchangedKeys
from tests.catalog.made import entry


def answer(revision: int = 1) -> Remembered:
    return Remembered(body_hash="b", status=200, created=(), skipped=("default",), revision=revision, model_id="a/b")


def test_the_key_of_an_entry_stands_for_its_answer() -> None:
    keys = Keys(10)
    keys.remember(entry("a/b", 7, profiles={"x": {}}, skipped=("default",), body_hash="h", idempotency_key="k"))
    keys.remember(entry("a/b", 8, fields={"hf_id": "a/b"}, body_hash="h", idempotency_key="only fields"))
    keys.remember(entry("a/b", 9, profiles={"y": {}}))
    assert keys.find("k") == Remembered(
        body_hash="h", status=201, created=("x",), skipped=("default",), revision=7, model_id="a/b"
    )
    fields_only = keys.find("only fields")
    assert fields_only is not None
    assert fields_only.status == 200
    assert keys.find("other") is None


def test_the_first_use_of_a_key_counts() -> None:
    keys = Keys(10)
    for revision in (1, 2):
        keys.remember(entry("a/b", revision, body_hash="h", idempotency_key="k"))
    found = keys.find("k")
    assert found is not None
    assert found.revision == 1


def test_the_oldest_keys_go_first() -> None:
    keys = Keys(2)
    for revision in (1, 2, 3):
        keys.remember(entry("a/b", revision, body_hash="h", idempotency_key=f"k{revision}"))
    assert [key for key, _ in keys.items()] == ["k2", "k3"]
    restored = Keys(1)
    restored.restore(keys.items())
    assert [key for key, _ in restored.items()] == ["k3"]


def test_keys_of_answers_without_an_entry_are_kept_for_some_seconds() -> None:
    keys = UnchangedKeys(600.0)
    keys.remember("k", answer(), now=1000.0)
    keys.remember("k", answer(2), now=1100.0)
    assert keys.find("k", now=1599.9) == answer()
    assert keys.find("k", now=1600.0) is None


def test_keys_of_answers_without_an_entry_are_bounded_too() -> None:
    keys = UnchangedKeys(600.0, kept=2)
    for number in range(3):
        keys.remember(f"k{number}", answer(), now=float(number))
    assert [keys.find(f"k{number}", now=3.0) is not None for number in range(3)] == [False, True, True]
