"""A store as those see it who share it over a network that loses, delays and forgets to answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from sie.catalog.entry import Entry
from sie.errors import OutcomeUnknown, RevisionTaken, StoreReplaced, StoreUnavailable
from sie.store.legacy import LegacyStore
from sie.testing.simulation.world import Life, World

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreWeather:
    """Chances, of each call, from 0 to 1. `slow_s`: the most that a call takes on each way.

    `refused`: said at once, nothing happens. `lost`: the request is, and there is no answer. `unheard`: it is done, and
    there is no answer. `late`: no answer, and it is done up to `late_s` after everybody has given up.
    """

    slow_s: float = 0.004
    refused: float = 0.0
    lost: float = 0.0
    unheard: float = 0.0
    late: float = 0.0
    late_s: float = 4.0


class Disk:
    """What is durable: one log, under one id. `down`: nobody gets an answer."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self._ids: random.Random = world.chance(f"store {number}")
        self.weather = StoreWeather()
        self.down = False
        self.wipe()

    def wipe(self) -> None:
        """Another store is there, empty. What was on its way to the old one arrives nowhere."""
        self.id = self._ids.randbytes(16).hex()
        self.entries: list[Entry] = []
        self.snapshots: list[tuple[int, bytes]] = []

    def put(self, store_id: str, entry: Entry) -> bool:
        """Whether its number was free. Raises StoreReplaced where the log is another's."""
        if store_id != self.id:
            raise StoreReplaced("another store is there")
        place = entry.revision - 1
        if not 0 <= place <= len(self.entries):
            raise ValueError(f"entry {entry.revision} cannot follow {len(self.entries)}")
        if place < len(self.entries):
            return False
        self.entries.append(entry)
        return True


class SimulatedStore:
    """A Store: one process's view of a disk."""

    durable = True
    origin = 0

    def __init__(self, disk: Disk, life: Life, *, timeout_s: float) -> None:
        self.id = disk.id
        self.place = "simulated"
        self._disk = disk
        self._life = life
        self._timeout_s = timeout_s
        self._chance: random.Random = disk.world.chance(f"store of {life.name}")

    async def append(self, entry: Entry) -> None:
        def put() -> bool:
            return self._disk.put(self.id, entry)

        if not await self._call(put, written=True):
            raise RevisionTaken(f"{entry.revision} is taken")

    async def entries_since(self, revision: int) -> Sequence[Entry]:
        def read() -> Sequence[Entry]:
            self._require_same()
            return self._disk.entries[revision:]

        return await self._call(read)

    async def load_snapshot(self) -> bytes | None:
        def load() -> bytes | None:
            self._require_same()
            return self._disk.snapshots[-1][1] if self._disk.snapshots else None

        return await self._call(load)

    async def save_snapshot(self, revision: int, content: bytes) -> None:
        def save() -> None:
            self._require_same()
            if not self._disk.snapshots or revision >= self._disk.snapshots[-1][0]:
                self._disk.snapshots = [*self._disk.snapshots[-1:], (revision, content)]

        await self._call(save)

    async def load_legacy(self) -> LegacyStore | None:
        return await self._call(lambda: None)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _require_same(self) -> None:
        if self.id != self._disk.id:
            raise StoreReplaced("another store is there")

    async def _call(self, do: Callable[[], T], *, written: bool = False) -> T:
        """What `do` returns or raises, done at some moment in between; or silence, in which it was done or not."""
        await trio.lowlevel.checkpoint()
        world, weather, chance = self._disk.world, self._disk.weather, self._chance
        answered = trio.Event()
        outcome: list[T | Exception] = []
        there_s, back_s, fate = weather.slow_s * chance.random(), weather.slow_s * chance.random(), chance.random()
        if fate < weather.refused:
            await trio.sleep(there_s)
            raise StoreUnavailable("refused by the weather")
        fate -= weather.refused
        lost = self._life.cut_from_store or self._disk.down or fate < weather.lost
        late = not lost and fate - weather.lost < weather.late
        heard = not lost and not late and fate - weather.lost - weather.late >= weather.unheard

        def arrive() -> None:
            try:
                outcome.append(do())
            except (StoreUnavailable, ValueError) as fault:
                outcome.append(fault)
            if heard:
                world.at(back_s, answered.set)

        if late and written:
            there_s = self._timeout_s + weather.late_s * chance.random()
        if not lost and (written or heard):
            world.at(there_s, arrive)
        with trio.move_on_after(self._timeout_s):
            await answered.wait()
        if not answered.is_set():
            silence = f"no answer within {self._timeout_s:g} s"
            raise OutcomeUnknown(silence) if written else StoreUnavailable(silence)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]


async def open_simulated(disk: Disk, life: Life, *, timeout_s: float) -> SimulatedStore:
    """As the opening of a shared store: it must answer once."""
    store = SimulatedStore(disk, life, timeout_s=timeout_s)
    await store.load_legacy()
    store.id = disk.id
    return store
