"""Where a worker process reads the truth: from a store that it shares with the routers, or by asking one of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

import trio

from sie.bus.nats import NatsBus
from sie.catalog.catalog import Catalog
from sie.catalog.change import ChangeLimits
from sie.errors import BusUnavailable, StoreCorrupt, StoreUnavailable
from sie.router.head import Head
from sie.router.sync import catch_up
from sie.router.watch import Watch
from sie.settings import Settings
from sie.store.contract import Store
from sie.worker.follow import BundleCatalog, CaughtUp

log = logging.getLogger(__name__)


class Truth(Protocol):
    """A CatchUp, and what it holds. `trouble`: why it could not tell when it was last asked; None if it could."""

    trouble: str | None

    async def __call__(self, bundle: str, known: Mapping[str, int]) -> CaughtUp | None: ...

    async def aclose(self) -> None: ...


class FilesOnly:
    """For a worker with neither bus nor shared store: what its files say is all there is."""

    trouble: str | None = None

    async def __call__(self, bundle: str, known: Mapping[str, int]) -> CaughtUp | None:
        await trio.lowlevel.checkpoint()
        return CaughtUp(parts=())

    async def aclose(self) -> None:
        """Nothing is held."""


class AskRouters:
    """Asks a router over NATS."""

    def __init__(self, bus: NatsBus, known: BundleCatalog) -> None:
        self.trouble: str | None = "no router has been asked yet"
        self._bus = bus
        self._doubt = _Doubt(known)

    async def __call__(self, bundle: str, known: Mapping[str, int]) -> CaughtUp | None:
        digest = self._doubt.digest
        found: CaughtUp | None = None
        async with trio.open_nursery() as asking:
            asking.start_soon(self._give_up_when_lost, asking.cancel_scope)
            try:
                found = await self._bus.sync(bundle, known, digest)
                self.trouble = None
                self._doubt.settle(digest, known, found)
            except BusUnavailable as fault:
                self.trouble = _told(self.trouble, f"no router can be asked over NATS: {fault.message}")
            asking.cancel_scope.cancel(reason="answered, or refused")
        return found

    async def _give_up_when_lost(self, asking: trio.CancelScope) -> None:
        """No answer comes over another connection than the question went."""
        await self._bus.wait_changed(self._bus.connection)
        asking.cancel(reason="the connection it was asked over is gone")

    async def aclose(self) -> None:
        """The bus is not ours to close."""


class ReadStore:
    """Reads the shared store, and never writes to it. One that was replaced is opened anew."""

    def __init__(
        self,
        settings: Settings,
        fresh: Callable[[], Catalog],
        known: BundleCatalog,
        open_store: Callable[[], Awaitable[Store]],
    ) -> None:
        self.trouble: str | None = "the config store has not been read yet"
        self._doubt = _Doubt(known)
        self._settings = settings
        self._fresh = fresh
        self._open_store = open_store
        self._head = self._new()

    async def __call__(self, bundle: str, known: Mapping[str, int]) -> CaughtUp | None:
        digest = self._doubt.digest
        try:
            await self._head.read_on()
        except StoreUnavailable as fault:
            self.trouble = _told(self.trouble, f"the config store cannot be read: {fault.message}")
            if isinstance(fault, StoreCorrupt):
                await self._head.aclose()
                self._head = self._new()
            return None
        self.trouble = None
        found = await catch_up(self._head, bundle, known, digest)
        self._doubt.settle(digest, known, found)
        return found

    async def aclose(self) -> None:
        await self._head.aclose()

    def _new(self) -> Head:
        return Head(
            self._fresh(),
            None,
            open_store=self._open_store,
            nudge=lambda: None,
            limits=ChangeLimits.of(self._settings),
            settings=self._settings,
            router_id="",
            watch=Watch(replace(self._settings, watch_bytes=0)),  # nobody watches a worker
        )


class _Doubt:
    """Whether what is known is what is true: its digest, for whoever can compare; "" where that is settled.

    Told once that it differs, a catalog that has not changed since would differ again: its files are others. And told
    once that it does not, it need not ask again before it hears of another store, or more of one.
    """

    def __init__(self, known: BundleCatalog) -> None:
        self._known = known
        self._settled: tuple[str, Mapping[str, int]] = "", {}

    @property
    def digest(self) -> str:
        digest = "" if self._known.gap else self._known.catalog.digest(self._known.name)
        return "" if (digest, self._known.known) == self._settled else digest

    def settle(self, digest: str, known: Mapping[str, int], found: CaughtUp) -> None:
        """It was told, for an answer to what is known. One that has news did not look at the digest: see `catch_up`."""
        said = {part.store: part.revision for part in found.parts}
        if known.keys() == said.keys() and all(known[store] >= revision for store, revision in said.items()):
            self._settled = (digest, dict(known)) if digest else self._settled


def _told(before: str | None, now: str) -> str:
    """Logged once for each new reason, or one that lasts would fill the log."""
    if now != before:
        log.warning("%s; trying on", now)
    return now
