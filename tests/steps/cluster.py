"""What outlives a router, and what a router is: the commit path as the real code has it, its edges cut by a crash."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from sie.bus.local import LocalBus
from sie.catalog.change import Change, ChangeLimits, read_change, read_stored
from sie.catalog.entry import Entry
from sie.catalog.judge import draft, judge
from sie.errors import OutcomeUnknown, SieError
from sie.files import load_catalog
from sie.flow import answer_post, keep_bundle_current
from sie.router.fleet import Fleet
from sie.router.head import Head
from sie.router.sync import catch_up
from sie.router.watch import Watch
from sie.router.writer import Writer
from sie.services import open_services
from sie.settings import Settings
from sie.store.contract import Store
from sie.testing.steps import Life, Ordeal, Round
from sie.testing.store import FaultyStore
from sie.wire.status import WorkerStatus
from sie.worker.follow import BundleCatalog, CaughtUp

BUNDLE = "default"
# Time is made, or runs faster, in these tests: limits are far away.
SETTINGS = Settings(restore=True, bundles=(BUNDLE,), store_timeout_s=100, commit_timeout_s=100)
LIMITS = ChangeLimits.of(SETTINGS)
FILES = load_catalog(SETTINGS)[0]

_names = itertools.count(1)

# Opens the store, as a process does at its start; what it does there ends with the life.
Opening = Callable[[Life], Awaitable[Store]]


@dataclass(frozen=True, slots=True)
class Post:
    body: bytes
    key: str | None = None

    @property
    def change(self) -> Change:
        return read_change(self.body, LIMITS)


@dataclass(frozen=True, slots=True)
class Told:
    """What a client has in its hands."""

    post: Post
    status: int
    created: tuple[str, ...] = ()
    revision: int = 0
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Up:
    """A router that runs."""

    life: Life
    head: Head
    fleet: Fleet


class Cluster:
    """`posts` are made at once, in each life. `legacy`: what SIE v0.1.10 left in the store, in its order."""

    def __init__(
        self, opening: Opening, posts: Sequence[Post], *, legacy: Sequence[bytes] = (), snapshots: bool = False
    ) -> None:
        self.told: list[Told] = []
        self.up: Up | None = None
        self.bus = LocalBus()  # stands for the network
        self.worker = BundleCatalog(BUNDLE, FILES.files_only)
        self._opening = opening
        self._posts = posts
        self._legacy = legacy
        self._snapshots = snapshots

    # -- a router

    async def live(self, life: Life, *, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start, take every post, and stop; `then`: while it still runs."""
        store, bus = await self._opening(life), life.edge(self.bus)
        head = Head(
            FILES.files_only(),
            store,
            open_store=partial(self._opening, life),
            nudge=bus.nudge,
            watch=Watch(SETTINGS),
            limits=LIMITS,
            settings=SETTINGS,
            router_id=f"router-{next(_names)}",
        )
        writer, fleet = Writer(head, bus, SETTINGS), Fleet()
        async with open_services("the router stops") as services:
            await services.start(writer.run)
            life.edge(self).is_up(Up(life, head, fleet))
            async with trio.open_nursery() as clients:
                for post in self._posts:
                    clients.start_soon(self._post, life, writer, fleet, post)
            if self._snapshots:
                await head.save_snapshot()
            if then is not None:
                await then()
        await head.aclose()

    async def _post(self, life: Life, writer: Writer, fleet: Fleet, post: Post) -> None:
        async def read_body() -> bytes:
            await trio.lowlevel.checkpoint()
            return post.body

        try:
            commit, _ = await answer_post(read_body, key=post.key, dry_run=False, writer=writer, fleet=fleet)
            told = Told(post, commit.status, commit.created, commit.revision)
        except SieError as error:
            told = Told(post, 503, unknown=isinstance(error, OutcomeUnknown))
        life.edge(self.told).append(told)

    def is_up(self, router: Up) -> None:
        self.up = router
        self.bus.nudge()  # as each worker does by itself, now and then

    # -- a worker, and its network

    async def follow(self) -> None:
        """Be a worker of the bundle, until cancelled."""
        with self.bus.follow(BUNDLE) as hints:
            await keep_bundle_current(hints, bundle=self.worker, catch_up=self._ask, report=self._report)

    async def _ask(self, bundle: str, known: Mapping[str, int]) -> CaughtUp | None:
        await trio.lowlevel.checkpoint()
        if self.up is None or self.up.life.over:
            return None
        return await catch_up(self.up.head, bundle, known)

    def _report(self) -> None:
        known = self.worker
        if self.up is not None and not self.up.life.over:
            said = WorkerStatus(
                name="w", bundle=BUNDLE, ready=known.caught_up, store=known.store, revision=known.complete_to
            )
            self.up.fleet.heard(said)

    # -- what must hold

    async def judge(self, done: Round) -> None:
        """What was answered is there; nothing is half there; a repetition settles all; the worker has what there is."""
        before = await self._logged()
        self._judge_log(before)
        self._judge_answers(before)
        assert self.worker.complete_to <= len(before), "a worker was told of what is not there"
        first, self.told = self.told, []
        await self.live(Life(), then=self._level)  # the next life, and every client asks again
        after = await self._logged()
        assert list(after)[: len(before)] == list(before), "an entry changed or is gone"
        self._judge_log(after)
        self._judge_answers(after)
        assert {one.status for one in self.told} <= {200, 201}, "a repetition was refused"
        assert len(self.told) == len(self._posts)
        for one in first:
            if one.status in (200, 201) and one.post.key is not None:
                assert Told(one.post, one.status, one.created, one.revision) in self.told, "the key was forgotten"
        fold = await self._fold()
        assert fold.catalog.digest(BUNDLE) == self._expected(), "not what was asked for"
        assert self.worker.catalog.digest(BUNDLE) == self._expected(), "the worker has something else"

    async def _level(self) -> None:
        """The worker comes to know what the router knows."""
        assert self.up is not None
        head = self.up.head
        with trio.fail_after(60):
            while self.worker.complete_to < head.catalog.bundle_head(BUNDLE):  # noqa: ASYNC110 -- seen from outside
                await trio.sleep(0.001)

    async def _logged(self) -> Sequence[Entry]:
        store = await self._opening(Life())
        entries = await store.entries_since(store.origin)
        await store.aclose()
        return list(entries)

    async def _fold(self) -> Head:
        """What somebody reads who starts now, from a snapshot if there is one; and it is the fold of the log."""
        store = await self._opening(Life())
        heads = [
            Head(
                FILES.files_only(),
                one,
                open_store=partial(self._opening, Life()),
                nudge=lambda: None,
                watch=Watch(SETTINGS),
                limits=LIMITS,
                settings=SETTINGS,
                router_id="reader",
            )
            for one in (store, _LogOnly(store))
        ]
        for head in heads:
            await head.read_on()
        assert heads[0].catalog.digest(BUNDLE) == heads[1].catalog.digest(BUNDLE), "the snapshot is not the log's fold"
        assert heads[0].revision == heads[1].revision
        await store.aclose()
        return heads[0]

    def _judge_log(self, entries: Sequence[Entry]) -> None:
        """Each entry is the whole of one change, and each change has at most one."""
        changes = {one.body_hash: one for one in self._changes()}
        for entry in entries:
            if entry.marker is None:
                content = changes[entry.body_hash or ""].profiles
                assert {name: content[name].content for name in entry.profiles} == entry.profiles, "another content"
                assert {*entry.profiles, *entry.skipped} == set(content), "half of it"
        created = Counter((one.model_id, profile) for one in entries for profile in one.profiles)
        assert set(created.values()) <= {1}, "created twice"
        assert max(Counter(one.body_hash for one in entries).values(), default=0) <= 1, "one change, two entries"
        assert [one.revision for one in entries] == list(range(1, len(entries) + 1)), "a gap"

    def _judge_answers(self, entries: Sequence[Entry]) -> None:
        """What was answered is there."""
        for told in self.told:
            change = told.post.change
            there = {profile for one in entries if one.model_id == change.model_id for profile in one.profiles}
            if told.status == 201:
                assert set(entries[told.revision - 1].profiles) == set(told.created), "answered with 201, and not there"
            if told.status in (200, 201):
                assert set(change.profiles) <= there, f"answered with {told.status}, and not there"

    def _changes(self) -> Sequence[Change]:
        return [*(read_stored(one) for one in self._legacy), *(one.change for one in self._posts)]

    def _expected(self) -> str:
        """The digest when all of it is there, in whichever order it came."""
        catalog = FILES.files_only()
        for change in self._changes():
            verdict = judge(catalog, change, LIMITS, lenient=True)
            if verdict.changes:
                entry = draft(verdict, write_id="", time="", router_id="", body_hash="")
                catalog.advance(entry.placed(catalog.head + 1))
        return catalog.digest(BUNDLE)


class _LogOnly(FaultyStore):
    """The store as if it never had a snapshot."""

    async def load_snapshot(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return None


@asynccontextmanager
async def world(cluster: Cluster) -> AsyncIterator[Ordeal]:
    """A round for `crash_at_every_step`: the worker follows all the time, the routers come and go."""
    async with open_services("the round is over") as workers:
        workers.start_soon(cluster.follow)
        yield Ordeal(live=cluster.live, judge=cluster.judge)
