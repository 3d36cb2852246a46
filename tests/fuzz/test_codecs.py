"""What travels between processes: any value comes back as it was, and any bytes are a value or the documented error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog.canonical import canonical
from sie.errors import ParseError
from sie.wire import msgpack
from sie.wire.answers import write_encode, write_score
from sie.wire.heads import Heads, read_heads, write_heads
from sie.wire.inference import Dense, EncodeAnswer, Encoded, Multivector, ScoreAnswer, Scored, Sparse, Timing
from sie.wire.notification import ALL_SUBJECT, announce, read_notification
from sie.wire.sealed import NotOurs, seal, unseal
from sie.wire.status import Nack, WorkerStatus
from sie.wire.status_message import Device, Process, read_status, write_status
from sie.wire.sync import SyncRequest, read_request, sync_subject, write_request
from tests.fuzz.strategies import options, texts
from tests.fuzz.test_http import from_packed
from tests.wire.test_notification import announcements

LIMIT = 1 << 20
KEY = b"key"
SUBJECT = sync_subject("default")
numbers = st.integers(0, 2**53 - 1)


def flipped(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(changed)


# -- sealed


@given(fields=options, subject=texts, data=st.data())
def test_a_sealed_message_with_any_bit_flipped_is_refused_or_says_the_same(
    fields: dict[str, Any], subject: str, data: st.DataObject
) -> None:
    """The same: `\\u00e9` and `\\u00E9` are one letter, and the seal is over what is said."""
    fields.pop("hmac", None)
    content = seal(fields, subject=subject, key=KEY)
    assert canonical(unseal(content, subject=subject, key=KEY, limit=LIMIT)) == canonical(fields)
    with suppress(NotOurs):
        found = unseal(flipped(content, data), subject=subject, key=KEY, limit=LIMIT)
        assert canonical(found) == canonical(fields)


heads = st.builds(
    Heads,
    router_id=texts,
    address=st.sampled_from(["a1", "0123456789abcdef"]),
    store=texts,
    bundles=st.dictionaries(st.sampled_from(["default", "a-b", "X_9"]), numbers),
    known=st.dictionaries(texts, numbers, max_size=4),
    asks=st.booleans(),
)
requests = st.builds(
    SyncRequest,
    bundle=st.just("default"),
    known=st.dictionaries(texts, st.integers(-1, 2**53), max_size=3),
    digest=texts,
)
READERS: dict[str, tuple[st.SearchStrategy[bytes], Callable[[bytes], Any]]] = {
    "heads": (
        heads.map(lambda one: write_heads(one, key=KEY)),
        lambda content: read_heads(content, key=KEY, limit=LIMIT),
    ),
    "requests to catch up": (
        requests.map(lambda one: write_request(one, subject=SUBJECT, nonce="n", key=KEY)),
        lambda content: read_request(content, subject=SUBJECT, key=KEY, limit=LIMIT),
    ),
    "notifications": (
        announcements().map(lambda one: dict(announce(one, key=KEY, limit=LIMIT))[ALL_SUBJECT]),
        lambda content: read_notification(content, subject=ALL_SUBJECT, key=KEY, limit=LIMIT),
    ),
}


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
def test_nothing_that_anybody_changed_on_the_way_is_taken_for_what_was_said(kind: str, data: st.DataObject) -> None:
    written, read = READERS[kind]
    content = data.draw(written)
    said = read(content)
    with suppress(NotOurs):
        assert read(flipped(content, data)) == said
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(NotOurs):
        read(content[:cut])


# -- statuses


statuses = st.builds(
    WorkerStatus,
    name=texts.filter(bool),
    bundle=texts.filter(bool),
    ready=st.booleans(),
    store=st.none() | texts.filter(bool),
    revision=numbers,
    others=st.dictionaries(texts, numbers, max_size=3),
    digest=texts,
    bundle_config_hash=texts,
    nacks=st.lists(st.builds(Nack, texts, texts, texts), max_size=3).map(tuple),
    nacks_left_out=st.integers(0, 9),
    machine_profile=texts,
    loaded_models=st.lists(texts, max_size=3).map(tuple),
    queue_depth=numbers,
    url=st.just("http://w"),
    gpu_count=st.just(1),
    memory_used_bytes=numbers,
    memory_total_bytes=numbers,
)


@given(statuses, st.data())
def test_a_status_comes_back_as_it_was_and_one_with_a_flipped_bit_is_read_or_refused(
    status: WorkerStatus, data: st.DataObject
) -> None:
    device = Device(
        name="cuda:0", memory_used_bytes=status.memory_used_bytes, memory_total_bytes=status.memory_total_bytes
    )
    content = write_status(status, Process(timestamp=1.5, version="0", uptime_s=3, pid=7, device=device))
    back = read_status(content, url="http://w")
    assert back.nacks == tuple(reversed(status.nacks))  # the newest first
    assert (*back.nacks[::-1],) == status.nacks
    assert {**fields_of(back), "nacks": None} == {**fields_of(status), "nacks": None}
    with suppress(ParseError):
        read_status(flipped(content, data), url="http://w")


def fields_of(status: WorkerStatus) -> dict[str, Any]:
    return {name: getattr(status, name) for name in WorkerStatus.__slots__}


# -- arrays


DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "|i1", "uint8": "|u1"}


@st.composite
def arrays(draw: st.DrawFn, dtype: str, *shape: int) -> Any:
    """Finite ones; as a view now and then, which no writer may take for its base."""
    content = draw(st.binary(min_size=int(np.prod(shape)) * 4, max_size=int(np.prod(shape)) * 4))
    made = np.frombuffer(content, "<i4").reshape(shape)
    kept = (made % 200).astype(DTYPES[dtype]) if dtype in ("int8", "uint8") else (made / 2**20).astype(DTYPES[dtype])
    return np.asfortranarray(kept) if draw(st.booleans()) else kept


@st.composite
def encoded(draw: st.DrawFn) -> Encoded:
    dtype: Any = draw(st.sampled_from(sorted(DTYPES)))
    dims, tokens = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    return Encoded(
        id=draw(st.none() | texts),
        dense=draw(st.none() | st.builds(Dense, st.just(dims), st.just(dtype), arrays(dtype, dims))),
        sparse=draw(
            st.none()
            | st.builds(
                Sparse,
                st.none() | st.just(30522),
                st.just("float32"),
                st.just(np.arange(dims, dtype="<i4")),
                arrays("float32", dims),
            )
        ),
        multivector=draw(
            st.none()
            | st.builds(Multivector, st.just(dims), st.just(tokens), st.just(dtype), arrays(dtype, tokens, dims))
        ),
    )


timings = st.builds(
    Timing, **dict.fromkeys(("total_ms", "queue_ms", "tokenization_ms", "inference_ms"), st.floats(0, 1e6))
)


@given(st.builds(EncodeAnswer, model=texts, items=st.lists(encoded(), max_size=4), timing=timings))
def test_vectors_are_the_same_numbers_as_json_and_as_msgpack(answer: EncodeAnswer) -> None:
    packed = from_packed(write_encode(answer, as_msgpack=True))
    spelled = orjson.loads(write_encode(answer, as_msgpack=False))
    assert (packed["model"], packed["timing"]) == (spelled["model"], spelled["timing"])
    for item, one, other in zip(answer.items, packed["items"], spelled["items"], strict=True):
        assert item.id == one.get("id") == other.get("id")
        for kind in ("dense", "sparse", "multivector"):
            vector = getattr(item, kind)
            assert (vector is None) == (kind not in one) == (kind not in other)
            if vector is not None:
                # Each number in as few digits as give it back in its own precision.
                read = np.array(other[kind]["values"], vector.values.dtype).reshape(vector.values.shape)
                assert read.tobytes() == np.ascontiguousarray(vector.values).tobytes()
                assert np.array(one[kind]["values"], vector.values.dtype).tobytes() == read.tobytes()


@given(
    st.builds(
        ScoreAnswer,
        model=texts,
        query_id=st.none() | texts,
        scores=st.lists(st.builds(Scored, texts, st.floats(-1e9, 1e9), numbers), max_size=4),
        timing=timings,
    )
)
def test_scores_are_the_same_as_json_and_as_msgpack(answer: ScoreAnswer) -> None:
    packed = from_packed(write_score(answer, as_msgpack=True))
    assert packed == orjson.loads(write_score(answer, as_msgpack=False))
    assert [one["score"] for one in packed["scores"]] == [one.score for one in answer.scores]
    assert msgpack.unpack(write_score(answer, as_msgpack=True), values=1000) == packed
