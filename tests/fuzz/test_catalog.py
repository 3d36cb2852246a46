"""The catalog, with documents as rich as they may be: it commutes, only grows, and is the same when read back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.canonical import canonical
from sie.catalog.catalog import Catalog
from sie.catalog.change import Change, read_change, read_stored
from sie.catalog.document import write_document
from sie.catalog.entry import read_entry, write_entry
from sie.catalog.judge import judge
from sie.catalog.keys import Keys
from sie.catalog.snapshot import Snapshot, read_snapshot, write_snapshot
from sie.errors import ContentConflict, SieError, StoreCorrupt
from tests.catalog.made import LIMITS, catalog, state
from tests.fuzz.strategies import FILE, Logged, complete_documents, documents, fewer, logs, post, spellings, values


def said(change: Change) -> tuple[bytes, list[tuple[str, bytes]]]:
    """All that a change says, so that true, 1 and 1.0 are three."""
    return canonical(change.fields), [(name, one.canonical) for name, one in change.profiles.items()]


@given(st.data(), documents())
def test_a_document_says_the_same_in_every_spelling(data: st.DataObject, document: Mapping[str, Any]) -> None:
    first, second = (read_change(data.draw(spellings(document)), LIMITS) for _ in range(2))
    assert said(first) == said(second)
    assert first.model_id == second.model_id == document["sie_id"]


@given(complete_documents())
def test_what_is_answered_can_be_posted_again_and_is_nothing_new(document: Mapping[str, Any]) -> None:
    made = catalog(FILE)
    try:
        post(made, document)
    except ContentConflict:
        return  # of the file
    model = made.find(document["sie_id"])
    assert model is not None
    answered = write_document(model.document)
    again = read_change(answered.encode(), LIMITS)
    assert said(again) == (canonical(model.fields), [(name, one.canonical) for name, one in model.profiles.items()])
    assert said(read_stored(answered.encode())) == said(again)
    assert not judge(made, again, LIMITS).changes
    profiles = {name: one.content for name, one in again.profiles.items()}
    written: dict[str, Any] = {"sie_id": model.sie_id, **again.fields, "profiles": profiles}
    assert write_document(written) == answered


@given(st.data(), documents())
def test_a_repeated_change_is_nothing_new_in_any_spelling(data: st.DataObject, document: Mapping[str, Any]) -> None:
    made = catalog(FILE)
    try:
        post(made, document)
    except SieError:
        return
    before = state(made)
    verdict = judge(made, read_change(data.draw(spellings(document)), LIMITS), LIMITS)
    assert (verdict.changes, verdict.created, verdict.fields) == (False, (), {})
    assert set(verdict.skipped) == set(document["profiles"])
    assert state(made) == before


@fewer
@given(logs(), documents())
def test_judging_changes_nothing_whatever_it_says(log: Logged, document: Mapping[str, Any]) -> None:
    before, head, made = state(log.catalog), log.catalog.head, copy.deepcopy(log.entries)
    with suppress(SieError):
        judge(log.catalog, read_change(write_document(document).encode(), LIMITS), LIMITS)
    assert (state(log.catalog), log.catalog.head, log.entries) == (before, head, made)


@fewer
@given(logs(), st.data())
def test_content_that_differs_in_one_place_is_a_conflict_that_names_its_profile(
    log: Logged, data: st.DataObject
) -> None:
    one, other = data.draw(st.permutations(CHANGED))[:2]
    model = data.draw(st.sampled_from(log.catalog.models()))
    first: dict[str, Any] = {"sie_id": model.sie_id, "profiles": {"new": {"extends": "default", **one}}}
    second: dict[str, Any] = {"sie_id": model.sie_id, "profiles": {"new": {"extends": "default", **other}}}
    post(log.catalog, first)
    before = state(log.catalog)
    with pytest.raises(ContentConflict) as refused:
        post(log.catalog, second)
    assert refused.value.fields["conflicting_profiles"] == ["new"]
    assert refused.value.fields["conflicting_fields"]
    assert all(path.startswith("profiles.new.") for path in refused.value.fields["conflicting_fields"])
    assert state(log.catalog) == before


CHANGED: list[dict[str, Any]] = [
    {"max_batch_tokens": 7},
    {"compute_precision": "float16"},
    {"adapter_options": {"runtime": {"x": True}}},
    {"adapter_options": {"runtime": {"x": 1}}},
    {"adapter_options": {"runtime": {"x": 1.0}}},
    {"adaptive_batching": {"gain": 0}},
    {"adaptive_batching": {"gain": -0.0}},
]


@fewer
@given(logs(), st.data())
def test_any_order_and_any_repetition_makes_the_same_catalog(log: Logged, data: st.DataObject) -> None:
    for files in ([], [FILE]):
        in_order, shuffled = catalog(*files), catalog(*files)
        for one in log.entries:
            in_order.advance(one)
        again = data.draw(st.lists(st.sampled_from(log.entries), max_size=4)) if log.entries else []
        for one in data.draw(st.permutations(log.entries + again)):
            shuffled.apply(one)
            if data.draw(st.booleans()):
                shuffled.digest("default")  # asked for in between, it must not freeze anything
        assert state(shuffled) == state(in_order)
        assert said_by(shuffled) == said_by(in_order)
        assert shuffled.conflicts == in_order.conflicts == []


def said_by(one: Catalog) -> list[bytes]:
    return [model.canonical for model in one.models()]


@fewer
@given(logs())
def test_nothing_that_was_there_is_ever_gone_or_different(log: Logged) -> None:
    growing = catalog(FILE)
    for entry in log.entries:
        before = {model.sie_id: model for model in growing.models()}
        growing.advance(entry)
        after = {model.sie_id: model for model in growing.models()}
        for sie_id, model in before.items():
            now = after[sie_id]
            assert canonical(model.fields) == canonical({name: now.fields[name] for name in model.fields})
            for name, profile in model.profiles.items():
                assert now.profiles[name].canonical == profile.canonical
                assert now.created[name] == model.created[name]


@fewer
@given(logs())
def test_an_entry_is_the_same_bytes_when_read_and_written_again(log: Logged) -> None:
    stored = catalog(FILE)
    for entry in log.entries:
        content = write_entry(entry)
        back = read_entry(content, name="x", revision=entry.revision)
        assert write_entry(back) == content
        stored.advance(back)
    assert state(stored) == state(log.catalog)
    for one, other in zip(stored.models(), log.catalog.models(), strict=True):
        assert write_document(one.document) == write_document(other.document)  # clients see no difference, not in order
    assert said_by(stored) == said_by(log.catalog)


def snapshot_of(log: Logged) -> bytes:
    keys = Keys(10)
    for entry in log.entries:
        keys.remember(entry)
    return write_snapshot(Snapshot.of(log.catalog, keys))


@fewer
@given(logs())
def test_a_snapshot_is_the_same_bytes_when_read_and_written_again(log: Logged) -> None:
    content = snapshot_of(log)
    back = read_snapshot(content)
    assert write_snapshot(back) == content
    restored, keys = catalog(FILE), Keys(10)
    back.restore(restored, keys)
    assert said_by(restored) == said_by(log.catalog)
    assert state(restored) == state(log.catalog)


@fewer
@given(logs(), st.data())
def test_a_snapshot_or_an_entry_with_a_flipped_bit_is_what_it_was_or_refused(log: Logged, data: st.DataObject) -> None:
    content = snapshot_of(log)
    with pytest.raises(StoreCorrupt):
        read_snapshot(flipped(content, data))
    for entry in log.entries[:1]:
        try:
            back = read_entry(flipped(write_entry(entry), data), name="x")
        except StoreCorrupt:
            continue
        write_entry(back)  # what was read can be written


def flipped(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(changed)


@given(values)
def test_an_entry_of_any_json_is_read_or_refused(value: Any) -> None:
    entry: dict[str, Any] = {
        "format": 1,
        "revision": 1,
        "model_id": "a/b",
        "created_profiles": [],
        "profiles": {},
        "fields": {},
    }
    rest: dict[str, Any] = {"write_id": "w", "time": "t", "router_id": "r", "skipped_profiles": []}
    for key in (*entry, *rest, "base", "heard", "marker"):
        with suppress(StoreCorrupt):
            read_entry(canonical({**entry, **rest, key: value}), name="x")
