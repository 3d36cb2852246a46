"""Watching the config: every entry once, in order, from any place that is kept; nobody waits for a slow watcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import h11
import orjson
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.errors import RevisionGone, ShuttingDown, StoreUnavailable
from sie.http.auth import Access
from sie.router.watch import Watch, Watcher, watch_blueprint
from sie.settings import Settings
from tests.router.made import STORE, Site, entry, eventually, open_site

OPEN = Access(auth_token=None, admin_token=None)
# No bookmark but the first within a test that is not about them.
QUIET = replace(Settings(), watch_bookmark_s=60.0)


@dataclass
class Event:
    kind: str
    id: str
    content: dict[str, Any]


@dataclass
class Stream:
    """A watcher's end of the connection."""

    stream: trio.SocketStream
    http: h11.Connection
    headers: dict[str, str] = field(default_factory=dict)
    read: bytes = b""
    ended: bool = False

    async def next(self) -> Event | None:
        """The next event, None at the end of an answer that ended as it should."""
        with trio.fail_after(10):
            while True:
                text, blank, rest = self.read.partition(b"\n\n")
                if blank:
                    self.read = rest
                    lines = dict(line.split(": ", 1) for line in text.decode().split("\n"))
                    if "event" in lines:
                        return Event(lines["event"], lines["id"], orjson.loads(lines["data"]))
                elif self.ended:
                    return None
                else:
                    await self._receive()

    async def _receive(self) -> None:
        event = self.http.next_event()
        if event is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive_some(4096))
        elif isinstance(event, h11.Response):
            assert event.status_code == 200
            self.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            self.read += event.data
        else:
            assert isinstance(event, h11.EndOfMessage)
            self.ended = True

    async def revisions(self, count: int) -> list[int]:
        """Of the next so many entries."""
        found: list[int] = []
        while len(found) < count:
            event = await self.next()
            assert event is not None
            if event.kind == "entry":
                found.append(event.content["revision"])
        return found


@asynccontextmanager
async def watching(site: Site, query: str = "", *, last: str | None = None) -> AsyncIterator[Stream]:
    host, _, port = site.url.removeprefix("http://").partition(":")
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "router"), *([("Last-Event-ID", last)] if last is not None else [])]
    asked = http.send(h11.Request(method="GET", target=f"/v1/configs/watch{query}", headers=headers))
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all((asked or b"") + (http.send(h11.EndOfMessage()) or b""))
        yield Stream(stream, http)


async def told(nursery: trio.Nursery, *revisions: int, settings: Settings = QUIET) -> tuple[Watch, Site]:
    watch = Watch(settings)
    watch.begin(STORE, revisions[0] - 1 if revisions else 0)
    for revision in revisions:
        watch.tell(entry(revision), STORE)
    return watch, await open_site(nursery, watch_blueprint(watch, OPEN))


async def test_every_entry_is_one_event_with_the_store_and_the_revision_as_its_id(nursery: trio.Nursery) -> None:
    watch, site = await told(nursery, 1)
    async with watching(site, "?since=0") as stream:
        event = await stream.next()
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        assert event is not None
        assert (event.kind, event.id) == ("entry", f"{STORE}:1")
        assert event.content == {
            "store": STORE,
            "revision": 1,
            "model_id": "org/model",
            "created_profiles": ["default"],
            "profiles": {"default": {"adapter_path": "sie.worker.adapters.dense:DenseAdapter"}},
            "fields": {"hf_id": "org/model"},
            "time": "2026-01-01T00:00:00Z",
            "router_id": "router-1",
        }
        bookmark = await stream.next()
        assert bookmark == Event("bookmark", f"{STORE}:1", {"store": STORE, "revision": 1, "head": 1})
        watch.tell(entry(2), STORE)
        assert await stream.revisions(1) == [2]
    nursery.cancel_scope.cancel(reason="done")


async def test_without_a_place_one_watches_from_now_on(nursery: trio.Nursery) -> None:
    watch, site = await told(nursery, 1, 2)
    async with watching(site) as stream:
        first = await stream.next()
        assert first is not None
        assert (first.kind, first.content["revision"]) == ("bookmark", 2)
        watch.tell(entry(3), STORE)
        assert await stream.revisions(1) == [3]
    nursery.cancel_scope.cancel(reason="done")


async def test_a_watcher_goes_on_where_it_was_and_its_last_event_wins_over_its_first_since(
    nursery: trio.Nursery,
) -> None:
    _, site = await told(nursery, 1, 2, 3, 4)
    for query, last, wanted in (
        ("?since=2", None, [3, 4]),
        (f"?since={STORE}:3", None, [4]),
        ("?since=0", f"{STORE}:3", [4]),
        ("", f"{STORE}:0", [1, 2, 3, 4]),
    ):
        async with watching(site, query, last=last) as stream:
            assert await stream.revisions(len(wanted)) == wanted
    nursery.cancel_scope.cancel(reason="done")


@pytest.mark.parametrize(
    ("place", "why"),
    [("9", "has not been"), ("other:3", "another store"), ("1", "older"), ("other:9", "another store")],
)
@pytest.mark.parametrize("as_header", [False, True])
async def test_a_place_that_cannot_be_gone_on_from_is_410_with_the_head(
    nursery: trio.Nursery, place: str, why: str, as_header: bool
) -> None:
    watch = Watch(QUIET)
    watch.begin(STORE, 2)
    watch.tell(entry(3), STORE)
    site = await open_site(nursery, watch_blueprint(watch, OPEN))
    async with site.client() as client:
        if as_header:
            answer = await client.get("/v1/configs/watch", headers={"Last-Event-ID": place})
        else:
            answer = await client.get("/v1/configs/watch", params={"since": place})
    assert answer.status_code == 410
    assert answer.headers["X-SIE-Error-Code"] == "revision_gone"
    body = answer.json()
    assert (body["error"], body["head"], body["store"]) == ("revision_gone", 3, STORE)
    assert why in body["message"]
    nursery.cancel_scope.cancel(reason="done")


@pytest.mark.parametrize("place", ["-1", "x", "1.5", ":1", "s:", "1" * 19, "a:b:1", " 1", "1\u0663"])
async def test_a_place_that_is_none_is_400(nursery: trio.Nursery, place: str) -> None:
    _, site = await told(nursery, 1)
    async with site.client() as client:
        answer = await client.get("/v1/configs/watch", params={"since": place})
    assert (answer.status_code, answer.json()["error"]) == (400, "parse_error")
    nursery.cancel_scope.cancel(reason="done")


async def test_before_anything_is_known_and_after_the_end_there_is_nothing_to_watch(nursery: trio.Nursery) -> None:
    watch = Watch(QUIET)
    with pytest.raises(StoreUnavailable):
        watch.watcher(since=None, last_event_id=None)
    site = await open_site(nursery, watch_blueprint(watch, OPEN))
    async with site.client() as client:
        assert (await client.get("/v1/configs/watch")).status_code == 503
        watch.begin(STORE, 1)
        watch.end()
        answer = await client.get("/v1/configs/watch")
        assert (answer.status_code, answer.json()["error"]) == (503, "shutting_down")
    with pytest.raises(ShuttingDown):
        watch.watcher(since=None, last_event_id=None)
    nursery.cancel_scope.cancel(reason="done")


async def test_watching_needs_a_token_where_one_is_set_and_head_asks_for_no_stream(nursery: trio.Nursery) -> None:
    watch = Watch(QUIET)
    watch.begin(STORE, 1)
    site = await open_site(nursery, watch_blueprint(watch, Access(auth_token="t", admin_token=None)))
    async with site.client() as client:
        assert (await client.get("/v1/configs/watch")).status_code == 401
        with trio.fail_after(5):
            head = await client.head("/v1/configs/watch", headers={"Authorization": "Bearer t"})
        assert (head.status_code, head.content) == (200, b"")
    nursery.cancel_scope.cancel(reason="done")


async def test_all_streams_end_as_they_should_when_watching_ends(nursery: trio.Nursery) -> None:
    watch, site = await told(nursery, 1)
    ended: list[int] = []

    async def follow(ready: trio.Event, number: int) -> None:
        async with watching(site) as stream:
            await stream.next()
            ready.set()
            assert await stream.next() is None
            ended.append(number)

    async with trio.open_nursery() as watchers:
        for number in range(20):
            ready = trio.Event()
            watchers.start_soon(follow, ready, number)
            await ready.wait()
        assert watch.statistics().watchers == 20
        watch.end()
    assert sorted(ended) == list(range(20))
    assert watch.statistics().watchers == 0
    nursery.cancel_scope.cancel(reason="done")


async def test_a_watcher_who_leaves_is_forgotten(nursery: trio.Nursery) -> None:
    watch, site = await told(nursery, 1)
    async with watching(site) as stream:
        await stream.next()
        assert watch.statistics().watchers == 1
    await eventually(lambda: watch.statistics().watchers == 0)
    nursery.cancel_scope.cancel(reason="done")


async def test_a_watcher_that_reads_nothing_is_dropped_and_the_others_hear_everything(nursery: trio.Nursery) -> None:
    """Its socket fills up; what is kept goes over it; when it reads again its stream is over."""
    settings = replace(QUIET, watch_bytes=200_000)
    watch = Watch(settings)
    watch.begin(STORE, 0)
    site = await open_site(nursery, watch_blueprint(watch, OPEN))
    async with watching(site) as slow, watching(site) as quick:
        await slow.next()
        await quick.next()
        for revision in range(1, 201):
            watch.tell(entry(revision, text="x" * 50_000), STORE)
            assert await quick.revisions(1) == [revision]
        assert watch.statistics().kept_bytes <= 200_000
        seen = 0
        while (event := await slow.next()) is not None:
            assert event.content["revision"] == seen + 1  # as far as it got: in order, without a gap
            seen += 1
        assert seen < 200
        assert watch.statistics().dropped == 1
        with pytest.raises(RevisionGone) as gone:
            watch.watcher(since=None, last_event_id=f"{STORE}:{seen}")
        assert gone.value.fields["head"] == 200
    nursery.cancel_scope.cancel(reason="done")


# -- the stream itself, on a virtual clock


async def test_a_bookmark_comes_at_least_every_second_and_after_each_wait(autojump_clock: MockClock) -> None:
    watch = Watch(Settings())
    watch.begin(STORE, 5)
    watcher = watch.watcher(since=None, last_event_id=None)
    times = []
    for _ in range(5):
        assert b'"head":5' in await anext(watcher)
        times.append(trio.current_time())
    assert times[0] == 0
    assert all(0 < later - earlier < 1 for earlier, later in pairwise(times))


async def test_entries_do_not_keep_bookmarks_away(autojump_clock: MockClock) -> None:
    watch = Watch(Settings())
    watch.begin(STORE, 0)
    watcher = watch.watcher(since=None, last_event_id=None)
    bookmarks = 0
    for revision in range(1, 51):
        watch.tell(entry(revision), STORE)
        bookmarks += (await anext(watcher)).count(b"event: bookmark")
        await trio.sleep(0.1)
    assert bookmarks >= 5


async def collect(watcher: Watcher, into: list[bytes]) -> None:
    async with watcher as pieces:
        async for piece in pieces:
            into.append(piece)


async def test_what_is_told_twice_or_late_is_heard_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    watch = Watch(QUIET)
    watch.begin(STORE, 0)
    heard: list[bytes] = []
    nursery.start_soon(collect, watch.watcher(since=None, last_event_id=None), heard)
    for revision in (1, 1, 2, 1, 3, 2):
        watch.tell(entry(revision), STORE)
        await wait_all_tasks_blocked()
    whole = b"".join(heard)
    assert [number for number in range(1, 9) if b"id: %s:%d\n" % (STORE.encode(), number) in whole] == [1, 2, 3]
    assert whole.count(b"event: entry") == 3
    watch.end()


@pytest.mark.parametrize("what", ["gap", "snapshot", "another store", "back"])
async def test_a_watcher_is_never_led_over_a_gap(autojump_clock: MockClock, nursery: trio.Nursery, what: str) -> None:
    watch = Watch(QUIET)
    watch.begin(STORE, 5)
    heard: list[bytes] = []
    async with trio.open_nursery() as following:
        following.start_soon(collect, watch.watcher(since=None, last_event_id=None), heard)
        await wait_all_tasks_blocked()
        match what:
            case "gap":
                watch.tell(entry(7), STORE)
            case "snapshot":
                watch.begin(STORE, 40)
            case "another store":
                watch.tell(entry(6), "store-2")
            case "back":
                watch.begin(STORE, 2)
    assert b"event: entry" not in b"".join(heard)
    assert watch.statistics().dropped == 1


async def test_what_is_known_already_changes_nothing(autojump_clock: MockClock) -> None:
    watch = Watch(QUIET)
    watch.begin(STORE, 0)
    watch.tell(entry(1), STORE)
    watch.begin(STORE, 1)
    assert watch.statistics().since == 0


async def test_a_far_place_is_caught_up_with_piece_by_piece(autojump_clock: MockClock) -> None:
    watch = Watch(QUIET)
    watch.begin(STORE, 0)
    for revision in range(1, 101):
        watch.tell(entry(revision, text="x" * 5_000), STORE)
    watcher = watch.watcher(since="0", last_event_id=None)
    pieces: list[bytes] = []
    while sum(piece.count(b"event: entry") for piece in pieces) < 100:
        pieces.append(await anext(watcher))
    assert max(map(len, pieces)) < 80_000
    ids = [line for piece in pieces for line in piece.split(b"\n") if line.startswith(b"id: ")]
    entries = [one for one, before in zip(ids, [b"", *ids], strict=False) if one != before]
    assert entries == [b"id: %s:%d" % (STORE.encode(), number) for number in range(1, 101)]


async def test_ten_thousand_entries_cost_what_is_set_and_no_more() -> None:
    watch = Watch(replace(QUIET, watch_bytes=100_000))
    watch.begin(STORE, 0)
    for revision in range(1, 10_001):
        watch.tell(entry(revision), STORE)
    found = watch.statistics()
    assert found.kept_bytes <= 100_000
    assert 0 < found.head - found.since < 10_000
    watch.watcher(since=str(found.since), last_event_id=None)
