"""What routers of SIE v0.1.10 announce: taken on as far as it is good, and counted as nothing known."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import trio

from sie.bus.contract import Nudge
from sie.bus.nats import NatsBus
from sie.catalog.change import ChangeLimits, read_change
from sie.catalog.faults import shown
from sie.catalog.judge import draft, judge
from sie.errors import SieError
from sie.wire.notification import LegacyNotification
from sie.worker.follow import BundleCatalog

log = logging.getLogger(__name__)

_NAMED = 100  # routers whose first odd word is logged; a crowd of invented ones must not fill the log


class LegacyEar:
    """`taken`: announcements that added something; `ignored`: those that did not fit, by kind of error.

    `report` is called after each that added something: what those routers wait for is the hash that it changes.
    """

    def __init__(self, known: BundleCatalog, limits: ChangeLimits, report: Callable[[], None]) -> None:
        self.taken = 0
        self.ignored: Counter[str] = Counter()
        self._known = known
        self._limits = limits
        self._report = report
        self._named: set[str] = set()

    async def listen(self, bus: NatsBus) -> None:
        """Until cancelled."""
        with bus.follow_legacy(self._known.name) as said:
            async for one in said:
                if not isinstance(one, Nudge):
                    await self._hear(one)

    async def _hear(self, said: LegacyNotification) -> None:
        try:
            change = await trio.to_thread.run_sync(read_change, said.model_config.encode(), self._limits)
            if change.model_id != said.model_id:
                raise SieError(f"it announces {shown(said.model_id)!r} and describes {shown(change.model_id)!r}")
            verdict = judge(self._known.catalog, change, self._limits)
        except SieError as fault:
            self._ignore(said.router_id, fault)
            return
        except Exception as fault:
            # One message in a form nobody foresaw must not end the listening to all others.
            log.exception("an announcement of a model failed in a way nobody foresaw")
            self._ignore(said.router_id, SieError(f"{type(fault).__name__}, see above"))
            return
        if verdict.changes:
            entry = draft(verdict, write_id="", time="", router_id=said.router_id, body_hash=change.body_hash)
            self._known.suggest(entry)
            self.taken += 1
            self._report()

    def _ignore(self, router_id: str, fault: SieError) -> None:
        self.ignored[type(fault).__name__] += 1
        if router_id not in self._named and len(self._named) < _NAMED:
            self._named.add(router_id)
            log.warning("ignored what router %s announced, and will again: %s", shown(router_id), fault.message)
