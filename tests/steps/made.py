"""The config plane over a store in memory, for the cases of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
import trio.testing

from sie.bus.contract import Notice
from sie.flow import Order
from sie.router.fleet import Fleet
from sie.router.head import Head
from sie.router.watch import Watch
from sie.router.writer import Writer
from sie.services import open_services
from sie.store.contract import Store
from sie.wire.status import WorkerStatus
from tests.pages import FIRST, FULL, PAGE_ID
from tests.router.test_writer import RecordingBus, change
from tests.steps.cluster import BUNDLE, FILES, LIMITS, SETTINGS
from tests.steps.test_crash import Durable

ORDER = Order(change=change(FIRST), key="k")
OTHER = Order(change=change(FULL.replace(b"intfloat", b"other")))


class Made:
    """A writer's parts over a store in memory, and a bus that remembers."""

    def __init__(self, legacy: Sequence[bytes] = (), store: Store | None = None) -> None:
        self.store = store or Durable(legacy)
        self.bus = RecordingBus()
        self.watch = Watch(SETTINGS)
        self.fleet = Fleet()
        self.head = self.new_head()
        self.writer = Writer(self.head, self.bus, SETTINGS)

    def new_head(self) -> Head:
        async def opened() -> Store:
            await trio.lowlevel.checkpoint()
            return self.store

        return Head(
            FILES.files_only(),
            None,
            open_store=opened,
            nudge=self.bus.nudge,
            watch=self.watch,
            limits=LIMITS,
            settings=SETTINGS,
            router_id="router-1",
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Made]:
        async with open_services("the round is over") as services:
            await services.start(self.writer.run)
            yield self

    async def logged(self) -> list[int]:
        return [one.revision for one in await self.store.entries_since(0)]

    async def confirm(self) -> None:
        """Be a worker that confirms each change at its second look."""
        with self.bus.follow(BUNDLE) as hints:
            async for hint in hints:
                await trio.lowlevel.checkpoint()
                if isinstance(hint, Notice):
                    self.fleet.heard(worker(self.store.id, hint.entry.revision))

    async def settled(self) -> None:
        """All or nothing: what is in the store was told and is in the catalog, and the same order again is safe."""
        await trio.testing.wait_all_tasks_blocked()
        logged = await self.logged()
        assert self.bus.published == logged
        assert (self.head.catalog.find(PAGE_ID) is not None) == bool(logged)
        assert (await self.writer.submit(ORDER)).status == 201  # by its key, which is never stuck
        assert await self.logged() == [1]


def worker(store: str, revision: int) -> WorkerStatus:
    return WorkerStatus(name="w", bundle=BUNDLE, ready=True, store=store, revision=revision)
