"""Notifications: what is announced is what is heard, and whatever else comes ends in NotOurs."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.canonical import Json, canonical
from sie.catalog.entry import Entry, write_entry
from sie.wire.notification import (
    ALL_SUBJECT,
    Announcement,
    ContentElsewhere,
    Notification,
    announce,
    bundle_of,
    bundle_subject,
    read_notification,
)
from sie.wire.sealed import NotOurs

DENSE = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
LIMIT = 1 << 20

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
options = st.dictionaries(st.text(min_size=1, max_size=9), json_values, min_size=1, max_size=3)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
bundles = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,12}", fullmatch=True)
keys = st.none() | st.binary(min_size=1, max_size=40)


def sort(value: Any) -> Any:
    """As the API normalises options."""
    if isinstance(value, dict):
        return {key: sort(value[key]) for key in sorted(value)}
    return [sort(one) for one in value] if isinstance(value, list) else value


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, dict[str, Json]]:
    def one() -> dict[str, Json]:
        runtime = sort(draw(options))
        return {"adapter_path": DENSE, "adapter_options": {"runtime": runtime}}

    return {name: one() for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))}


@st.composite
def announcements(draw: st.DrawFn) -> Announcement:
    base = draw(st.none() | st.builds(lambda found: {"fields": {"hf_id": "org/base"}, "profiles": found}, profiles()))
    entry = Entry(
        model_id=draw(st.sampled_from(["org/model", "a", "BAAI/bge-m3"])),
        profiles=draw(profiles()),
        fields=draw(st.sampled_from([{}, {"hf_id": "org/é", "inputs": {"text": True}}])),
        base=base,
        heard=draw(st.none() | st.builds(lambda found: {"fields": {"hf_id": "o/h"}, "profiles": found}, profiles())),
        write_id=draw(st.text()),
        time=draw(st.text()),
        router_id=draw(st.text()),
        skipped=tuple(draw(st.lists(names, max_size=2))),
        body_hash=draw(st.none() | st.just("0" * 64)),
        idempotency_key=draw(st.none() | st.text()),
        revision=draw(st.integers(1, 2**53)),
    )
    touched = draw(st.lists(bundles, max_size=3, unique=True))
    # Equal to the entry's own number where the entry brings a model into a bundle.
    previous = {bundle: draw(st.integers(0, entry.revision)) for bundle in touched}
    return Announcement(
        model_id=entry.model_id,
        profiles=tuple(entry.profiles),
        entry=entry,
        store=draw(st.text(min_size=1)),
        heads=dict.fromkeys(touched, entry.revision),
        previous=previous,
        router_id=draw(st.text(min_size=1)),
        epoch=draw(st.integers(0, 2**53)),
        model_config=draw(st.text()),
        bundle_config_hashes=draw(st.dictionaries(bundles, st.text(max_size=9), max_size=2)),
    )


ONE = Announcement(
    entry=Entry(
        model_id="org/model",
        profiles={"default": {"adapter_path": DENSE}},
        fields={},
        write_id="w",
        time="t",
        router_id="r",
        revision=5,
    ),
    model_id="org/model",
    profiles=("default",),
    store="s",
    heads={"default": 5},
    previous={"default": 4},
    router_id="router-1",
    epoch=5,
    model_config="sie_id: org/model\n",
    bundle_config_hashes={},
)


def read(content: bytes, subject: str, key: bytes | None = None) -> Any:
    return read_notification(content, subject=subject, key=key, limit=LIMIT)


@given(change=announcements(), key=keys)
def test_what_is_announced_is_what_is_heard(change: Announcement, key: bytes | None) -> None:
    messages = announce(change, key=key, limit=LIMIT)
    assert [subject for subject, _ in messages] == [*(bundle_subject(one) for one in change.previous), ALL_SUBJECT]
    for subject, content in messages:
        heard = read(content, subject, key)
        bundle = bundle_of(subject)
        previous = change.previous if subject == ALL_SUBJECT else {bundle: change.previous[bundle]}
        assert change.entry is not None
        assert heard == Notification(
            router_id=change.router_id, store=change.store, entry=change.entry, previous=previous
        )
        assert write_entry(heard.entry) == write_entry(change.entry)  # where 1, 1.0 and true are three


@given(change=announcements(), key=keys, limit=st.integers(0, 3000))
def test_what_is_too_large_says_so_without_its_content(change: Announcement, key: bytes | None, limit: int) -> None:
    for subject, content in announce(change, key=key, limit=limit):
        heard = read(content, subject, key)
        if len(content) > limit or isinstance(heard, ContentElsewhere):
            assert heard == elsewhere(change, subject)


def elsewhere(change: Announcement, subject: str) -> ContentElsewhere:
    newest = max(change.heads.values(), default=0) if subject == ALL_SUBJECT else change.heads[bundle_of(subject)]
    return ContentElsewhere(router_id=change.router_id, model_id=change.model_id, store=change.store, revision=newest)


@given(change=announcements(), key=keys, data=st.data())
def test_a_reminder_tells_each_bundle_of_its_own_newest_revision(
    change: Announcement, key: bytes | None, data: st.DataObject
) -> None:
    heads = {bundle: data.draw(st.integers(0, 2**53)) for bundle in change.heads}
    reminder = replace(change, entry=None, previous={}, heads=heads)
    messages = announce(reminder, key=key, limit=LIMIT)
    assert [subject for subject, _ in messages] == [*(bundle_subject(one) for one in heads), ALL_SUBJECT]
    for subject, content in messages:
        assert read(content, subject, key) == elsewhere(reminder, subject)
        assert orjson.loads(content)["model_config"] == change.model_config  # older readers need no more


@pytest.mark.parametrize("said", [-1, 5.0, True, "5", None, 2**53 + 1])
def test_a_reminder_of_what_is_no_revision_is_refused(said: object) -> None:
    (subject, content), _ = announce(replace(ONE, entry=None, previous={}), key=None, limit=LIMIT)
    with pytest.raises(NotOurs):
        read(orjson.dumps({**orjson.loads(content), "revision": said}), subject)


@given(data=st.data())
def test_a_sealed_message_with_anything_changed_or_on_another_subject_is_forged(data: st.DataObject) -> None:
    (subject, content), to_all = announce(ONE, key=b"k", limit=LIMIT)
    fields = orjson.loads(content)
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(json_values.filter(lambda one: canonical([one]) != canonical([fields[name]])))
    for changed in ({**fields, name: value}, {one: each for one, each in fields.items() if one != name}):
        with pytest.raises(NotOurs) as refused:
            read(orjson.dumps(changed), subject, b"k")
        assert refused.value.kind == "forged"
    for elsewhere, key in ((bundle_subject("other"), b"k"), (ALL_SUBJECT, b"k"), (subject, b"other key")):
        with pytest.raises(NotOurs):
            read(content, elsewhere, key)
    with pytest.raises(NotOurs):
        read(to_all[1], subject, b"k")
    assert isinstance(read(content, subject, b"k"), Notification)


@given(content=st.binary() | json_values.map(orjson.dumps), key=keys)
def test_anything_else_is_not_ours(content: bytes, key: bytes | None) -> None:
    with pytest.raises(NotOurs):
        read(content, "sie.config.models.default", key)


@given(data=st.data())
def test_a_message_with_one_field_changed_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    subject, content = data.draw(st.sampled_from(announce(ONE, key=None, limit=LIMIT)))
    fields = orjson.loads(content)
    name = data.draw(st.sampled_from([*sorted(fields), "too_large"]))
    fields[name] = data.draw(json_values)
    with contextlib.suppress(NotOurs):
        read(orjson.dumps(fields), subject)


def entry_text(**changed: Any) -> str:
    assert ONE.entry is not None
    return canonical({**orjson.loads(write_entry(ONE.entry)), **changed}).decode()


@pytest.mark.parametrize(
    "text",
    [
        entry_text(format=2),
        entry_text(marker={"imported_epoch": 1}),
        entry_text(profiles={"default": {"adapter_path": 5}}),
        entry_text(profiles={"default": {"adapter_path": "a:B", "unknown": 1}}),
        entry_text(profiles={"default": {"adapter_path": "a:B", "max_batch_tokens": None}}),
        entry_text(profiles={"default": {"adapter_path": "a:B", "max_batch_tokens": True}}),
        entry_text(profiles={"default": []}),
        entry_text(profiles={"..": {"adapter_path": "a:B"}}, created_profiles=[".."]),
        entry_text(fields={"hf_id": 1}),
        entry_text(fields={"sie_id": "org/other"}),
        entry_text(base={"fields": {}, "profiles": {"x": {"adapter_path": {}}}}),
        entry_text(base={"fields": {"tasks": []}, "profiles": {}}),
        entry_text(heard={"fields": {}, "profiles": {"x": {"adapter_path": {}}}}),
        entry_text(heard={"fields": {"tasks": []}, "profiles": {}}),
        entry_text(heard={"fields": {}}),
        entry_text(heard=[]),
        entry_text(revision="5"),
        entry_text(revision=5.0),
        entry_text(revision=2**200),
        entry_text(time=None),
        entry_text().replace('"t"', '"\\ud800"'),
        entry_text().replace('"t"', "NaN"),
        entry_text().replace('{"', '{ "', 1),
        "[" * 5000,
    ],
)
def test_an_entry_that_could_harm_whoever_folds_it_is_refused(text: str) -> None:
    (subject, content), _ = announce(ONE, key=None, limit=LIMIT)
    fields = {**orjson.loads(content), "entry": text}
    with pytest.raises(NotOurs) as refused:
        read(orjson.dumps(fields), subject)
    assert refused.value.sender == "router-1"


@pytest.mark.parametrize("bundle", ["", "_all", "a.b", "*", ">", "a b", "a\r\nPUB x", "é"])
def test_only_a_bundles_name_makes_a_subject(bundle: str) -> None:
    with pytest.raises(ValueError):
        bundle_subject(bundle)
