"""Catching up, on the wire: pages of any size give back what was said, and nothing else passes for them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.wire.sealed import NotOurs
from sie.wire.sync import (
    Pages,
    SyncReply,
    SyncRequest,
    read_request,
    router_subject,
    sync_subject,
    write_reply,
    write_request,
)
from tests.bus.made import model

LIMIT = 1 << 20
keys = st.none() | st.binary(min_size=1, max_size=40)
parts = st.tuples(
    st.text(),
    st.integers(0, 2**53),
    st.booleans(),
    st.lists(st.integers(0, 50), max_size=8).map(lambda numbers: [model(one, "é" * one) for one in numbers]),
)
replies = st.builds(
    SyncReply,
    parts=st.lists(parts, max_size=3),
    refused=st.just("") | st.text(max_size=20),
)


def put_together(pages: list[bytes], key: bytes | None, *, limit: int = LIMIT) -> SyncReply:
    whole = Pages("nonce", key, limit)
    for page in pages:
        assert not whole.complete
        whole.add(page)
    assert whole.complete
    return whole.reply()


@given(reply=replies, key=keys, limit=st.integers(600, 5000))
def test_pages_below_the_limit_give_back_what_was_said(reply: SyncReply, key: bytes | None, limit: int) -> None:
    pages = list(write_reply(reply, nonce="nonce", key=key, limit=limit))
    assert max(len(page) for page in pages) <= limit
    found = put_together(pages, key)
    assert found == reply
    for (*_, found_models), (*_, models) in zip(found.parts, reply.parts, strict=True):
        for one, other in zip(found_models, models, strict=True):
            assert list(one.profiles) == list(other.profiles)
            assert one.canonical == other.canonical


@given(
    request=st.builds(
        SyncRequest,
        bundle=st.just("_all") | st.just("a-b"),
        known=st.dictionaries(st.text(), st.integers(-1, 2**53), max_size=3),
        digest=st.text(),
    ),
    key=keys,
)
def test_a_request_is_read_as_it_was_written(request: SyncRequest, key: bytes | None) -> None:
    subject = sync_subject(request.bundle)
    content = write_request(request, subject=subject, nonce="n", key=key)
    assert read_request(content, subject=subject, key=key, limit=LIMIT) == (request, "n")
    for elsewhere, other_key in ((sync_subject("other"), key), (subject, b"another")):
        if key is not None:
            with pytest.raises(NotOurs):
                read_request(content, subject=elsewhere, key=other_key, limit=LIMIT)


@given(content=st.binary())
def test_other_bytes_are_no_request_and_no_page(content: bytes) -> None:
    with pytest.raises(NotOurs):
        read_request(content, subject="sie.config.sync.default", key=None, limit=LIMIT)
    with pytest.raises(NotOurs):
        Pages("nonce", None, LIMIT).add(content)


def pages_of(key: bytes | None, *, nonce: str = "nonce") -> list[bytes]:
    reply = SyncReply(parts=[("s", 3, False, [model(1), model(2)]), ("t", 0, True, [model(3)])])
    return list(write_reply(reply, nonce=nonce, key=key, limit=800))


@pytest.mark.parametrize("key", [None, b"k"])
def test_pages_out_of_order_or_of_another_answer_are_refused(key: bytes | None) -> None:
    first, second, *rest = pages_of(key)
    for wrong in ([second], [first, first], [first, *rest], [pages_of(key, nonce="earlier")[0]]):
        with pytest.raises(NotOurs):
            put_together(list(wrong), key)
    with pytest.raises(NotOurs):
        put_together([first, second, *rest], key, limit=500)


@given(data=st.data())
def test_a_sealed_page_with_one_bit_changed_is_refused(data: st.DataObject) -> None:
    page = bytearray(pages_of(b"k")[0])
    place = data.draw(st.integers(0, len(page) - 1))
    page[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(NotOurs):
        Pages("nonce", b"k", LIMIT).add(bytes(page))


ONE: dict[str, object] = {"sie_id": "a", "source": "api", "revision": 1, "fields": {}, "profiles": []}


def answer_with(**changed: object) -> bytes:
    part = {"store": "s", "revision": 3, "whole": False, "models": [ONE], **changed}
    return orjson.dumps({"refused": "", "parts": [part]})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"refused":"","parts":{"s":[]}}',
        b'{"refused":"","parts":[[]]}',
        b'{"refused":1,"parts":[]}',
        answer_with(revision="3"),
        answer_with(revision=True),
        answer_with(store=1),
        answer_with(whole=1),
        answer_with(models=[{}]),
        answer_with(models={"a": ONE}),
        answer_with(models=[{**ONE, "source": "moon"}]),
        answer_with(models=[{**ONE, "revision": 1.0}]),
        answer_with(models=[{**ONE, "profiles": [["default", 1, {"extends": "none"}]]}]),
        answer_with(models=[{**ONE, "profiles": [["default", 1, {}]]}]),
        b'{"parts":[' + answer_with()[len(b'{"refused":"","parts":[') :],
    ],
)
def test_an_answer_that_no_catalog_could_hold_is_refused(content: bytes) -> None:
    pages = Pages("nonce", None, LIMIT)
    pages.add(b'{"nonce":"nonce","page":0,"pages":1}\n' + content)
    with pytest.raises(NotOurs):
        pages.reply()


def test_what_the_refused_answers_were_changed_from_is_taken() -> None:
    pages = Pages("nonce", None, LIMIT)
    pages.add(b'{"nonce":"nonce","page":0,"pages":1}\n' + answer_with())
    ((store, revision, whole, models),) = pages.reply().parts
    assert (store, revision, whole, [one.sie_id for one in models]) == ("s", 3, False, ["a"])


@given(key=keys)
def test_a_request_to_one_router_is_for_no_other(key: bytes | None) -> None:
    request = SyncRequest(bundle="_all", known={"s": 3})
    content = write_request(request, subject=router_subject("a1"), nonce="n", key=key)
    assert read_request(content, subject=router_subject("a1"), key=key, limit=LIMIT) == (request, "n")
    if key is not None:
        for elsewhere in (router_subject("a2"), sync_subject("_all")):
            with pytest.raises(NotOurs):
                read_request(content, subject=elsewhere, key=key, limit=LIMIT)
