"""`GET /v1/configs/watch`: every entry as it is known here, as server-sent events, to any number of watchers.

One memory of entries, bounded in bytes, serves them all: each watcher is a place in it and reads at its own pace. One
that is overtaken by the bound is dropped; coming back, it is told with a 410 where to start anew.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from types import TracebackType

import orjson
import trio
from quart import Blueprint, Response, request
from quart.wrappers.response import ResponseBody

from sie.catalog.entry import Entry
from sie.errors import ParseError, RevisionGone, ShuttingDown, StoreUnavailable
from sie.http.auth import Access
from sie.settings import KIB, Settings

_PLACE = re.compile(r"(?:(?P<store>[^:\s]{1,128}):)?(?P<revision>[0-9]{1,18})")
_AT_ONCE = 64 * KIB  # sent to one watcher before another gets a turn
_RETRY_MS = 1000  # what a watcher that lost us waits before it comes back


@dataclass(frozen=True, slots=True)
class _Event:
    revision: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatistics:
    """`watchers`: now; `dropped`: so far, for falling behind; `since`: the oldest revision to resume from."""

    watchers: int
    dropped: int
    since: int
    head: int
    kept_bytes: int


class Watch:
    """What watchers are told. One owner tells it, in the log's order; anybody may watch.

    `store`, `head`: as told, "" and 0 before anything was.
    """

    def __init__(self, settings: Settings) -> None:
        self.store = ""
        self.head = 0
        self.ended = False
        self._since = 0  # of every entry after it the event is kept
        self._events: deque[_Event] = deque()
        self._bytes = 0
        self._bytes_most = settings.watch_bytes
        self._bookmark_s = settings.watch_bookmark_s
        self._changed = trio.Event()
        self._watchers = 0
        self._dropped = 0

    # -- telling

    def tell(self, entry: Entry, store: str) -> None:
        """An entry of the store, the one after `head`. One told before is ignored; a gap counts as a `begin`."""
        if store != self.store or entry.revision > self.head + 1:
            self.begin(store, entry.revision - 1)
        if entry.revision <= self.head:
            return
        self.head = entry.revision
        event = _Event(entry.revision, _event("entry", store, entry.revision, _content(entry, store)))
        self._events.append(event)
        self._bytes += len(event.content)
        while self._bytes > self._bytes_most:
            gone = self._events.popleft()
            self._bytes -= len(gone.content)
            self._since = gone.revision
        self._wake()

    def begin(self, store: str, head: int) -> None:
        """Everything up to `head` is known, and not entry by entry: a start, a snapshot, or another store.

        Watchers who have not got so far are dropped, as are those of another store. Nothing new changes nothing.
        """
        if (store, head) == (self.store, self.head):
            return
        self.store, self.head, self._since = store, head, head
        self._events.clear()
        self._bytes = 0
        self._wake()

    def end(self) -> None:
        """Every watcher's stream ends now, as it should; new ones are turned away."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- watching

    def watcher(self, *, since: str | None, last_event_id: str | None) -> Watcher:
        """A stream of events after `since`, `[store:]revision`; `last_event_id` wins over it; neither: from now on.

        Raises ParseError; RevisionGone for a place beyond the head, in another store, or older than what is kept;
        StoreUnavailable before anything is known; ShuttingDown.
        """
        if self.ended:
            raise ShuttingDown("this router is shutting down", retry_after_s=1)
        if not self.store:
            raise StoreUnavailable("this router has not read its config store yet", retry_after_s=1)
        given = last_event_id or since
        return Watcher(self, self.head if given is None else self._place(given))

    def statistics(self) -> WatchStatistics:
        return WatchStatistics(
            watchers=self._watchers, dropped=self._dropped, since=self._since, head=self.head, kept_bytes=self._bytes
        )

    def _place(self, given: str) -> int:
        found = _PLACE.fullmatch(given)
        if found is None:
            raise ParseError("since and Last-Event-ID are of the form revision or store:revision")
        revision = int(found["revision"])
        if found["store"] not in (None, self.store):
            why = "is of another store"
        elif revision > self.head:
            why = "has not been yet"
        elif revision < self._since:
            why = f"is older than what is kept, which is what came after {self._since}"
        else:
            return revision
        raise RevisionGone(
            f"revision {given} {why}; read the models anew and watch from {self.head}", store=self.store, head=self.head
        )


class Watcher(ResponseBody):
    """One watcher's stream. Cancelled, or left, it is forgotten."""

    def __init__(self, watch: Watch, place: int) -> None:
        self._watch = watch
        self._store = watch.store
        self._place = place
        self._bookmark_at = -1.0
        self._greeting = b"retry: %d\n\n" % _RETRY_MS

    async def __aenter__(self) -> Watcher:
        self._watch._watchers += 1
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._watch._watchers -= 1

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> bytes:
        watch = self._watch
        while not watch.ended:
            if self._store != watch.store or not watch._since <= self._place <= watch.head:
                watch._dropped += 1
                break
            content = self._greeting + self._pending()
            self._greeting = b""
            if trio.current_time() >= self._bookmark_at:
                content += self._bookmark()
            if content:
                return content
            with trio.move_on_at(self._bookmark_at):
                await watch._changed.wait()
        raise StopAsyncIteration

    def _pending(self) -> bytes:
        """What comes next, some of it."""
        events = self._watch._events
        behind = self._watch.head - self._place  # entries are numbered without gaps
        pieces: list[bytes] = []
        room = _AT_ONCE
        for number in range(len(events) - behind, len(events)):
            event = events[number]
            pieces.append(event.content)
            self._place = event.revision
            room -= len(event.content)
            if room <= 0:
                break
        return b"".join(pieces)

    def _bookmark(self) -> bytes:
        """Where the watcher is, and where the head is: how far behind it is at most."""
        self._bookmark_at = trio.current_time() + self._watch._bookmark_s
        content = {"store": self._store, "revision": self._place, "head": self._watch.head}
        return _event("bookmark", self._store, self._place, orjson.dumps(content))


def watch_blueprint(watch: Watch, access: Access) -> Blueprint:
    """The route. Reading needs either token."""
    routes = Blueprint("watch", __name__)

    @routes.get("/v1/configs/watch")
    async def watching() -> Response:
        access.require_read(request.headers)
        watcher = watch.watcher(since=request.args.get("since"), last_event_id=request.headers.get("Last-Event-ID"))
        response = Response(b"" if request.method == "HEAD" else watcher, content_type="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would collect events
        return response

    return routes


def _event(kind: str, store: str, revision: int, content: bytes) -> bytes:
    return b"event: %s\nid: %s:%d\ndata: %s\n\n" % (kind.encode(), store.encode(), revision, content)


def _content(entry: Entry, store: str) -> bytes:
    """The entry as watchers may see it: without the client's Idempotency-Key, the body's hash and the writer's mark."""
    content = {
        "store": store,
        "revision": entry.revision,
        "model_id": entry.model_id,
        "created_profiles": list(entry.profiles),
        "profiles": entry.profiles,
        "fields": entry.fields,
        "base": entry.base,
        "heard": entry.heard,
        "marker": entry.marker,
        "time": entry.time,
        "router_id": entry.router_id,
    }
    return orjson.dumps({key: value for key, value in content.items() if value is not None})
