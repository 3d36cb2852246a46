"""A shared store behind a network that fails: definite where it can be, unknown where it must be, and never wrong."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from sie.errors import ConfigurationError, OutcomeUnknown, RevisionTaken, StoreUnavailable
from sie.store import objects
from sie.store.append import append_surely
from sie.store.objects import ObjectStore
from sie.testing.proxy import Answer, CutAfter, CutBefore, Delay, Fault, LandLate, Proxy, Swallow, open_proxy
from tests.store.forgetful import forgetful_s3
from tests.store.samples import entry
from tests.store.shared import Shared

_SHORT_S = 0.3  # a time limit that a healthy service on this machine keeps by far


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before asking again are for the services' sake, and these have no need of them."""
    monkeypatch.setattr(objects, "_PAUSES_S", (0.01, 0.02))


@asynccontextmanager
async def _proxied(shared: Shared, *, timeout_s: float = 30.0) -> AsyncIterator[tuple[ObjectStore, Proxy, ObjectStore]]:
    """A store behind a proxy without faults so far, that proxy, and the same store without one between."""
    direct = await shared.open()
    async with open_proxy(("127.0.0.1", shared.port), faults=()) as proxy:
        shared.lead_to(proxy.port)
        store = await shared.open()
        store._timeout_s = timeout_s
        shared.lead_to(shared.port)
        yield store, proxy, direct
        await store.aclose()
    await direct.aclose()


# -- one put, one fault


@pytest.mark.parametrize(
    ("fault", "outcome", "landed"),
    [
        (None, None, True),
        (Delay(before_s=0.01, after_s=0.01), None, True),
        (CutBefore(), OutcomeUnknown, False),
        (CutAfter(), OutcomeUnknown, True),
        (Swallow(), OutcomeUnknown, True),
        (LandLate(), OutcomeUnknown, False),
        (Answer(500, after_success=True), OutcomeUnknown, True),
        (Answer(409, after_success=True), OutcomeUnknown, True),
        (Answer(503), OutcomeUnknown, False),
        (Answer(409), OutcomeUnknown, False),
        (Answer(429), OutcomeUnknown, False),
        (Answer(403), StoreUnavailable, False),
        (Answer(400), StoreUnavailable, False),
        (Answer(412), RevisionTaken, False),
    ],
    ids=str,
)
async def test_a_put_that_fails_says_whether_it_may_have_landed(
    shared: Shared, fault: Fault | None, outcome: type[Exception] | None, landed: bool
) -> None:
    async with _proxied(shared, timeout_s=_SHORT_S if isinstance(fault, Swallow) else 30) as (store, proxy, direct):
        proxy.plan(None, fault)  # the id is looked at first
        met = None
        try:
            await store.append(entry(1))
        except (StoreUnavailable, RevisionTaken) as raised:
            met = type(raised)
        assert met is outcome
        assert list(await direct.entries_since(0)) == ([entry(1)] if landed else [])
        assert [status // 100 for status in await proxy.land_late()] == ([2] if fault == LandLate() else [])
        assert list(await direct.entries_since(0)) == ([entry(1)] if landed or fault == LandLate() else [])


async def test_a_put_that_lands_after_it_was_reported_failed_finds_its_number_taken(shared: Shared) -> None:
    async with _proxied(shared) as (store, proxy, direct):
        proxy.plan(None, LandLate())
        with pytest.raises(OutcomeUnknown):
            await store.append(entry(1, "late"))
        await direct.append(entry(1, "rival"))
        assert await proxy.land_late() == [412]
        assert [one.write_id for one in await store.entries_since(0)] == ["rival"]


# -- one read, one fault


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter(), Answer(500), Answer(503), Answer(429)], ids=str)
async def test_a_read_that_met_silence_is_asked_again(shared: Shared, fault: Fault) -> None:
    async with _proxied(shared) as (store, proxy, direct):
        await direct.append(entry(1))
        proxy.plan(fault, fault, fault)
        assert list(await store.entries_since(0)) == [entry(1)]


@pytest.mark.parametrize("fault", [CutBefore(), Answer(500), Answer(403), Answer(400)], ids=str)
async def test_a_read_that_fails_for_good_is_an_error_and_never_an_absence(shared: Shared, fault: Fault) -> None:
    async with _proxied(shared) as (store, proxy, _):
        asks: list[Callable[[], Awaitable[object]]] = [
            partial(store.entries_since, 0),
            store.load_snapshot,
            store.load_legacy,
            partial(store.append, entry(1)),
        ]
        for ask in asks:
            proxy.plan(*[fault] * 20)
            with pytest.raises(StoreUnavailable) as caught:
                await ask()
            assert not isinstance(caught.value, OutcomeUnknown)
            assert caught.value.fields == {}
            assert store.place in caught.value.message


async def test_wrong_credentials_are_told_apart_by_the_services_own_words(s3: Shared) -> None:
    body = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>"
    async with open_proxy(("127.0.0.1", s3.port), faults=[Answer(403, body=body)]) as proxy:
        s3.lead_to(proxy.port)
        with pytest.raises(StoreUnavailable) as caught:
            await s3.open()
    assert "InvalidAccessKeyId: No such key.; check AWS_ACCESS_KEY_ID" in caught.value.message


async def test_a_snapshot_is_kept_although_older_ones_cannot_be_removed(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    async with _proxied(shared) as (store, proxy, direct):
        for revision in (1, 2, 3):
            await direct.append(entry(revision))
            await direct.save_snapshot(revision, f"fold of {revision}".encode())
        await direct.append(entry(4))
        proxy.plan(None, None, None, None, Answer(403))  # two looks, the put, the list, the removal
        await store.save_snapshot(4, b"fold of 4")
        assert "more than 2 snapshots" in caplog.text
        assert await direct.load_snapshot() == b"fold of 4"


# -- services that do not keep the promise


async def test_a_service_that_ignores_the_condition_is_refused_before_anything_is_stored(s3: Shared) -> None:
    with forgetful_s3() as (port, held):
        s3.lead_to(port)
        for _ in range(2):  # also where an earlier opener has left its probe
            with pytest.raises(ConfigurationError) as caught:
                await s3.open()
            assert f"{s3.url}/probe" in str(caught.value)
            assert "ignores conditions on writes" in str(caught.value)
        assert [path.rpartition("/")[2] for path in held] == ["probe"]


async def test_a_google_service_that_ignores_the_condition_is_refused(gcs: Shared) -> None:
    accepted = Answer(200, body=b'{"name": "probe"}')
    async with open_proxy(("127.0.0.1", gcs.port), faults=[accepted, accepted]) as proxy:
        gcs.lead_to(proxy.port)
        with pytest.raises(ConfigurationError) as caught:
            await gcs.open()
    assert "ignores conditions on writes" in str(caught.value)


async def test_a_service_that_does_not_know_the_condition_is_refused(s3: Shared) -> None:
    body = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>"
    async with open_proxy(("127.0.0.1", s3.port), faults=[Answer(501, body=body)]) as proxy:
        s3.lead_to(proxy.port)
        with pytest.raises(ConfigurationError) as caught:
            await s3.open()
    assert "knows no If-None-Match" in str(caught.value)


@pytest.mark.parametrize("fault", [CutAfter(), Answer(409), Answer(429), Answer(500, after_success=True)], ids=str)
async def test_a_fault_while_the_store_is_made_is_got_over(shared: Shared, fault: Fault) -> None:
    for n in range(4):
        async with open_proxy(("127.0.0.1", shared.port), faults=[*[None] * n, fault]) as proxy:
            shared.lead_to(proxy.port)
            url = f"{shared.url}/{n}"
            store = await shared.open(url=url)
            shared.lead_to(shared.port)
            again = await shared.open(url=url)
            assert store.id == again.id
            await store.aclose()
            await again.aclose()


# -- a network that swallows everything


async def test_what_hangs_ends_in_an_answer_each_time_in_few_threads_and_goes_on_afterwards(shared: Shared) -> None:
    async with _proxied(shared, timeout_s=_SHORT_S) as (store, proxy, direct):
        before = threading.active_count()
        proxy.hold()
        for _ in range(3):
            for ask in (partial(store.entries_since, 0), partial(store.append, entry(1)), store.load_legacy):
                began = trio.current_time()
                with pytest.raises(StoreUnavailable):
                    await ask()
                assert trio.current_time() - began < 10
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(_unavailable, partial(store.entries_since, 0))
        lanes = store._read_lane.total_tokens + store._write_lane.total_tokens + store._snapshot_lane.total_tokens
        assert threading.active_count() - before <= lanes
        proxy.resume()
        store._timeout_s = 30
        await append_surely(store, entry(1), deadline=trio.current_time() + 30)
        assert list(await direct.entries_since(0)) == [entry(1)]


async def _unavailable(ask: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(StoreUnavailable):
        await ask()


async def test_a_read_can_be_cancelled_while_the_service_is_silent(shared: Shared) -> None:
    async with _proxied(shared) as (store, proxy, _):
        proxy.plan(*[Swallow()] * 10)
        with trio.move_on_after(0.1) as asking:
            await store.entries_since(0)
        assert asking.cancelled_caught
        proxy.plan()
        assert list(await store.entries_since(0)) == []


# -- whatever fails, the verdict agrees with the log


_FAULTS: list[Fault | None] = [
    None,
    Delay(before_s=0.02, after_s=0.02),
    CutBefore(),
    CutAfter(),
    LandLate(),
    Answer(500),
    Answer(500, after_success=True),
    Answer(503),
    Answer(409, after_success=True),
    Answer(403),
]


async def test_whatever_fails_on_the_way_the_verdict_agrees_with_the_log(shared: Shared) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with _proxied(shared) as (store, proxy, direct):
        head = 0
        for n in range(25):
            mine, rival = entry(head + 1, f"mine-{n}"), entry(head + 1, f"rival-{n}")
            spared = [None] * chance.choice([0, 2])  # a look goes before each put
            proxy.plan(*spared, *chance.choices(_FAULTS, k=chance.randrange(8)))
            if met := chance.random() < 0.2:
                await direct.append(rival)
            verdict: type[Exception] | None = None
            try:
                await append_surely(store, mine, deadline=trio.current_time() + chance.choice([0.2, 20]))
            except (RevisionTaken, StoreUnavailable) as fault:
                verdict = type(fault)
            proxy.plan()
            await proxy.land_late()
            tail = list(await direct.entries_since(head))
            assert tail in ([], [mine], [rival])
            if verdict is None:
                assert tail == [mine]
            elif verdict is RevisionTaken:
                assert tail == [rival]
            elif verdict is not OutcomeUnknown:
                assert mine not in tail
            assert (tail == [rival]) == met
            head += len(tail)
        assert [one.revision for one in await store.entries_since(0)] == list(range(1, head + 1))
