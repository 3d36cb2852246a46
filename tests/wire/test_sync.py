"""Catching up, on the wire: pages of any size give back what was said, and nothing else passes for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.wire.sealed import NotOurs
from sie.wire.sync import Pages, SyncReply, SyncRequest, read_request, sync_subject, write_reply, write_request
from tests.bus.made import model

LIMIT = 1 << 20
keys = st.none() | st.binary(min_size=1, max_size=40)
replies = st.builds(
    SyncReply,
    store=st.text(),
    revision=st.integers(0, 2**53),
    models=st.lists(st.integers(0, 50), max_size=8).map(lambda numbers: [model(one, "é" * one) for one in numbers]),
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
    for one, other in zip(found.models, reply.models, strict=True):
        assert list(one.profiles) == list(other.profiles)
        assert one.canonical == other.canonical


@given(
    request=st.builds(
        SyncRequest,
        bundle=st.just("_all") | st.just("a-b"),
        store=st.text(),
        since=st.integers(-1, 2**53),
        digest=st.text(),
    ),
    key=keys,
)
def test_a_request_is_read_as_it_was_written(request: SyncRequest, key: bytes | None) -> None:
    content = write_request(request, nonce="n", key=key)
    subject = sync_subject(request.bundle)
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
    reply = SyncReply(store="s", revision=3, models=[model(1), model(2), model(3)])
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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"store":"s","revision":"3","refused":"","models":[]}',
        b'{"store":1,"revision":3,"refused":"","models":[]}',
        b'{"store":"s","revision":3,"refused":"","models":[{}]}',
        b'{"store":"s","revision":3,"refused":"","models":[{"sie_id":"a","source":"moon","revision":1,"fields":{},'
        b'"profiles":[]}]}',
        b'{"store":"s","revision":3,"refused":"","models":[{"sie_id":"a","source":"api","revision":1,"fields":{},'
        b'"profiles":[["default",1,{"extends":"none"}]]}]}',
        b'{"store":"s","revision":3,"refused":"","models":[{"sie_id":"a","source":"api","revision":1,"fields":{},'
        b'"profiles":[["default",1,{}]]}]}',
    ],
)
def test_an_answer_that_no_catalog_could_hold_is_refused(content: bytes) -> None:
    pages = Pages("nonce", None, LIMIT)
    pages.add(b'{"nonce":"nonce","page":0,"pages":1}\n' + content)
    with pytest.raises(NotOurs):
        pages.reply()
