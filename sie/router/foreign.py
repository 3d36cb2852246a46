"""What routers with other stores have said: taken on here, never logged or published again.

Routers that share a store have nothing here. Those that are joined by the bus alone, each with a store of its own or
in its own memory, know each other's models this way for as long as one of them runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from sie.bus.contract import Notice
from sie.catalog.coverage import Coverage
from sie.turns import in_turns

if TYPE_CHECKING:
    from sie.catalog.catalog import Catalog
    from sie.catalog.model import Model
    from sie.worker.follow import Part

log = logging.getLogger(__name__)


class Foreign:
    """`catalog`: the one that serves now. One owner tells this what it hears."""

    def __init__(self, catalog: Callable[[], Catalog], *, most: int) -> None:
        """`most`: stores that are kept; beyond it, the one whose router was not heard of for the longest time goes."""
        self._catalog = catalog
        self._most = most
        self._stores: dict[str, Coverage] = {}
        self._alive: dict[str, float] = {}  # store -> when its own router was last heard of, on Trio's clock

    @property
    def known(self) -> Mapping[str, int]:
        """Up to which revision each store is known."""
        return {store: one.complete_to for store, one in self._stores.items()}

    def alive(self, store: str) -> None:
        """The router that owns the store said something."""
        if store in self._stores or len(self._alive) < 2 * self._most:  # a crowd of invented ones fills no memory
            self._alive[store] = trio.current_time()

    def heard(self, notice: Notice) -> bool:
        """Take an entry on if it is the next of its store. False: something before it must be asked for first."""
        coverage = self._stores.get(notice.store)
        if coverage is None:
            return False
        for entry in coverage.heard(notice.entry, notice.entry.revision - 1):
            self._catalog().apply(entry, notice.store)
        return not coverage.gap

    def lacks(self, known: Mapping[str, int]) -> bool:
        """Whether somebody who knows this knows more."""
        mine = self.known
        return any(revision > mine.get(store, -1) for store, revision in known.items())

    async def take(self, parts: Sequence[Part]) -> str | None:
        """Take on what another router knows; nothing may be `heard` meanwhile, or it would be lost under what is older.

        Returns a store there is no room for beside this, if there is one. Cancelled: some of it is known early, and
        does not count as known.
        """
        for part in parts:
            coverage = self._stores.get(part.store)
            if coverage is None or part.revision > coverage.complete_to:
                await in_turns(part.models, partial(self._hear, part.store))
            coverage = self._stores.setdefault(part.store, Coverage())
            for entry in coverage.read_to(part.revision):
                self._catalog().apply(entry, part.store)
        if len(self._stores) <= self._most:
            return None
        return min(self._stores, key=lambda store: self._alive.get(store, 0.0))

    def _hear(self, store: str, model: Model) -> None:
        self._catalog().hear(store, (model,))

    def forget(self, store: str) -> None:
        """It is known no more; what the catalog has of it is its owner's to remove."""
        log.warning("what store %s said is forgotten: more than %d stores are known here", store, self._most)
        del self._stores[store]
        self._alive.pop(store, None)
