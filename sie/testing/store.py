"""A store that fails on command: any store, and a plan of what goes wrong when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from sie.catalog.entry import Entry
from sie.errors import OutcomeUnknown, RevisionTaken, StoreUnavailable
from sie.store.contract import Store
from sie.store.legacy import LegacyStore


@dataclass(frozen=True, slots=True)
class Refuse:
    """StoreUnavailable; nothing happens."""


@dataclass(frozen=True, slots=True)
class Silence:
    """OutcomeUnknown; whether it happened all the same is for the plan to say."""

    landed: bool


@dataclass(frozen=True, slots=True)
class LandLate:
    """OutcomeUnknown now; the entry is put after so many further operations, if its number is free then."""

    after: int


@dataclass(frozen=True, slots=True)
class Rival:
    """Another router puts its own entry at the number first."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Seconds of Trio's clock before it happens, and between that and the answer."""

    before_s: float = 0.0
    after_s: float = 0.0


Fault = Refuse | Silence | LandLate | Rival | Slow


class FaultyStore:
    """`inner`, with what the plans say: the nth operation of a kind meets the nth fault of its plan; None is none.

    When a plan is used up, all goes well. `appends` may hold any fault; `reads` (entries, snapshots, legacy) and
    `saves` know Refuse and Slow. The same plan gives the same history.
    """

    def __init__(
        self,
        inner: Store,
        *,
        appends: Iterable[Fault | None] = (),
        reads: Iterable[Refuse | Slow | None] = (),
        saves: Iterable[Refuse | Slow | None] = (),
    ) -> None:
        self.inner = inner
        self._appends = iter(appends)
        self._reads = iter(reads)
        self._saves = iter(saves)
        self._late: list[tuple[int, Entry]] = []  # operations still to go, and what lands then
        self._rivals = 0

    @property
    def id(self) -> str:
        return self.inner.id

    @property
    def origin(self) -> int:
        return self.inner.origin

    @property
    def durable(self) -> bool:
        return self.inner.durable

    @property
    def place(self) -> str:
        return self.inner.place

    async def append(self, entry: Entry) -> None:
        await self._pass_time()
        match next(self._appends, None):
            case None:
                await self.inner.append(entry)
            case Refuse():
                raise StoreUnavailable("refused by plan")
            case Silence(landed):
                if landed:
                    await self._try(entry)
                raise OutcomeUnknown("silent by plan")
            case LandLate(after):
                self._late.append((after, entry))
                raise OutcomeUnknown("late by plan")
            case Rival():
                self._rivals += 1
                await self._try(replace(entry, write_id=f"rival-{self._rivals}", idempotency_key=None))
                await self.inner.append(entry)
            case Slow(before_s, after_s):
                await trio.sleep(before_s)
                await self.inner.append(entry)
                await trio.sleep(after_s)

    async def entries_since(self, revision: int) -> Sequence[Entry]:
        answer_s = await self._begin(self._reads)
        entries = await self.inner.entries_since(revision)
        await trio.sleep(answer_s)
        return entries

    async def load_snapshot(self) -> bytes | None:
        answer_s = await self._begin(self._reads)
        content = await self.inner.load_snapshot()
        await trio.sleep(answer_s)
        return content

    async def load_legacy(self) -> LegacyStore | None:
        answer_s = await self._begin(self._reads)
        legacy = await self.inner.load_legacy()
        await trio.sleep(answer_s)
        return legacy

    async def save_snapshot(self, revision: int, content: bytes) -> None:
        answer_s = await self._begin(self._saves)
        await self.inner.save_snapshot(revision, content)
        await trio.sleep(answer_s)

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def land_late_writes(self) -> None:
        """Put now what is still on its way, as a test does at its end."""
        late, self._late = self._late, []
        for _, entry in late:
            await self._try(entry)

    async def _begin(self, plan: Iterable[Refuse | Slow | None]) -> float:
        """Up to the operation itself; returns the seconds to wait after it."""
        await self._pass_time()
        match next(iter(plan), None):
            case Refuse():
                raise StoreUnavailable("refused by plan")
            case Slow(before_s, after_s):
                await trio.sleep(before_s)
                return after_s
        return 0.0

    async def _pass_time(self) -> None:
        await trio.lowlevel.checkpoint()
        due = [entry for left, entry in self._late if left == 0]
        self._late = [(left - 1, entry) for left, entry in self._late if left > 0]
        for entry in due:
            await self._try(entry)

    async def _try(self, entry: Entry) -> None:
        with suppress(RevisionTaken):
            await self.inner.append(entry)
