"""Where routers stand: what is said is what is heard, and whatever else comes ends in NotOurs."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.canonical import canonical
from sie.wire.heads import HEADS_SUBJECT, Heads, read_heads, write_heads
from sie.wire.sealed import NotOurs, seal
from sie.wire.sync import is_sync_subject
from tests.wire.test_notification import bundles, json_values, keys

LIMIT = 1 << 20
revisions = st.integers(0, 2**53 - 1)
heads = st.builds(
    Heads,
    router_id=st.text(),
    address=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    store=st.text(),
    bundles=st.dictionaries(bundles, revisions, max_size=4),
    known=st.dictionaries(st.text(), revisions, max_size=4),
    asks=st.booleans(),
)
ONE = Heads(router_id="router-1", address="ab12", store="s", bundles={"default": 4}, known={"s": 5, "t": 6})


def read(content: bytes, key: bytes | None = None, *, limit: int = LIMIT) -> Heads:
    return read_heads(content, key=key, limit=limit)


@given(said=heads, key=keys)
def test_what_is_said_is_what_is_heard(said: Heads, key: bytes | None) -> None:
    content = write_heads(said, key=key)
    assert read(content, key) == said
    assert list(read(content, key).known) == list(said.known)  # its own store first
    assert read(content, None) == said  # who has no key takes it with and without a seal
    with pytest.raises(NotOurs) as refused:
        read(content, b"another key")
    assert refused.value.kind == "forged"
    with pytest.raises(NotOurs) as refused:
        read(content, key, limit=len(content) - 1)
    assert refused.value.kind == "oversized"


def test_older_readers_and_those_who_catch_up_never_see_one() -> None:
    assert not HEADS_SUBJECT.startswith("sie.config.models.")
    assert not is_sync_subject(HEADS_SUBJECT)


@given(content=st.binary() | json_values.map(orjson.dumps), key=keys)
def test_anything_else_is_not_ours(content: bytes, key: bytes | None) -> None:
    with pytest.raises(NotOurs):
        read(content, key)


@given(data=st.data())
def test_one_with_a_field_changed_is_read_or_refused_and_with_a_key_always_refused(data: st.DataObject) -> None:
    fields = orjson.loads(write_heads(ONE, key=b"k"))
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(json_values.filter(lambda one: canonical([one]) != canonical([fields[name]])))
    changed = orjson.dumps({**fields, name: value})
    with pytest.raises(NotOurs) as refused:
        read(changed, b"k")
    assert refused.value.kind == "forged"
    with contextlib.suppress(NotOurs):
        read(changed)
    with pytest.raises(NotOurs):
        read(orjson.dumps({one: each for one, each in fields.items() if one != name}), b"k")


def test_one_meant_for_another_subject_is_forged() -> None:
    fields = orjson.loads(write_heads(ONE, key=None))
    with pytest.raises(NotOurs):
        read(seal(fields, subject="sie.config.models.default", key=b"k"), b"k")


@pytest.mark.parametrize(
    "changed",
    [
        {"router_id": None},
        {"store": 5},
        {"address": ""},
        {"address": "a.b"},
        {"address": "*"},
        {"address": ">"},
        {"address": "a b"},
        {"address": "é"},
        {"address": ["ab12"]},
        {"bundles": None},
        {"bundles": ["default"]},
        {"bundles": {"a.b": 1}},
        {"bundles": {"_all": 1}},
        {"bundles": {"default": -1}},
        {"bundles": {"default": 2**53}},
        {"bundles": {"default": True}},
        {"bundles": {"default": 1.0}},
        {"bundles": {"default": "1"}},
        {"known": None},
        {"known": {"s": -1}},
        {"known": {"s": None}},
        {"known": {f"s{number}": 1 for number in range(65)}},
    ],
)
def test_what_no_router_says_is_refused_and_its_sender_named_where_it_has_one(changed: dict[str, Any]) -> None:
    fields = {**orjson.loads(write_heads(ONE, key=None)), **changed}
    with pytest.raises(NotOurs) as refused:
        read(orjson.dumps(fields))
    assert refused.value.kind == "malformed"
    if "bundles" in changed or "known" in changed:
        assert refused.value.sender == "router-1"


@pytest.mark.parametrize("asks", [None, 1, "true", []])
def test_only_true_asks(asks: object) -> None:
    fields = {**orjson.loads(write_heads(ONE, key=None)), "asks": asks}
    assert read(orjson.dumps(fields)).asks is False
