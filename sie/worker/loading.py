"""The one that moves models on and off the device, as sie/worker/residency.py decides."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import trio

from sie.errors import ModelLoadFailed, ModelLoading, ShuttingDown, SieError
from sie.settings import Settings
from sie.worker.adapters.contract import Adapter
from sie.worker.device import Device, DeviceOutOfMemory
from sie.worker.identity import LoadIdentity
from sie.worker.residency import Event, Place, Residency, State, Verdict
from sie.worker.weights import Weights

log = logging.getLogger("sie.worker.loading")


class Known(NamedTuple):
    """What a model turned out to be."""

    dims: Mapping[str, int]
    max_sequence_length: int | None


class Loading:
    """Loads what is wanted, one at a time, and makes room for it. All state is changed between awaits."""

    def __init__(self, settings: Settings, device: Device) -> None:
        self._settings = settings
        self._device = device
        self.table = Residency(settings.memory_budget_bytes or None)
        self._adapters: dict[LoadIdentity, Adapter] = {}
        self.known: dict[LoadIdentity, Known] = {}  # kept after they are unloaded
        self._began: dict[LoadIdentity, float] = {}
        self._took: dict[LoadIdentity, float] = {}
        self._one_at_a_time = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self.changes = 0
        self._changed = trio.Event()

    # -- for requests

    def using(self, identity: LoadIdentity, wait_s: float) -> AbstractAsyncContextManager[Adapter]:
        """The loaded model, which stays resident until this is left.

        If it is not resident, loading begins (or goes on), and this waits for it `wait_s` at most. Raises ModelLoading,
        ModelLoadFailed or ShuttingDown. Cancelled: the load goes on, for others may wait for it too.
        """
        return _Using(self, identity, wait_s)

    async def hold(self, identity: LoadIdentity, wait_s: float) -> tuple[Place, Adapter]:
        """As `using`, until `let_go` of the place."""
        deadline = trio.current_time() + wait_s
        while (place := self._want(identity)).state is not State.RESIDENT:
            if trio.current_time() >= deadline:
                raise ModelLoading(f"{identity} is loading", retry_after_s=self._remaining_s(identity))
            with trio.move_on_at(deadline):
                await self._changed.wait()
        place.holds += 1
        place.used_at = trio.current_time()
        return place, self._adapters[identity]

    def let_go(self, place: Place) -> None:
        """Of one `hold`."""
        place.holds -= 1
        place.used_at = trio.current_time()
        if not place.holds:
            self._wake()

    def touch(self, identity: LoadIdentity) -> None:
        """It was used just now: eviction takes others first."""
        self.table.place(identity).used_at = trio.current_time()

    async def wait_changed(self, seen: int) -> int:
        """Wait until more than `seen` state changes have happened; returns how many have."""
        while self.changes <= seen:
            await self._changed.wait()
        return self.changes

    # -- for the service

    def open(self, nursery: trio.Nursery) -> None:
        """Loads run as tasks of this nursery; cancelling it abandons them."""
        self._nursery = nursery

    def close(self) -> None:
        """Every waiter, now and later, gets ShuttingDown."""
        self._nursery = None
        self._wake()

    async def release_all(self) -> None:
        """Give all memory back, each model after whatever runs on it now."""
        for identity in list(self._adapters):
            if self.table.place(identity).state is State.RESIDENT:
                self._move(identity, Event.EVICTED)
            await self._release(identity)

    # -- loading

    def _want(self, identity: LoadIdentity) -> Place:
        """Begin to load it if that is to be done; say its place. Raises what a request must be told at once."""
        if self._nursery is None:
            raise ShuttingDown("This process takes no more work", retry_after_s=5)
        place = self.table.place(identity)
        if place.state is State.FAILED and trio.current_time() < place.retry_at:
            raise ModelLoadFailed(
                f"{identity} could not be loaded: {place.reason}",
                reason=place.reason,
                retry_after_s=max(1, math.ceil(place.retry_at - trio.current_time())),
            )
        if place.state in (State.AVAILABLE, State.FAILED):
            self._move(identity, Event.WANTED)
            self._began[identity] = trio.current_time()
            self._nursery.start_soon(self._load, identity)
        return place

    async def _load(self, identity: LoadIdentity) -> None:
        """One load, from wanted to resident or failed; raises nothing but Cancelled."""
        try:
            weights = await self._device.find(identity)
            async with self._one_at_a_time:
                await self._make_room(identity, weights.memory_bytes)
                adapter = await self._load_onto_device(identity, weights)
        except Exception as fault:
            expected = isinstance(fault, SieError)
            log.warning("could not load %s: %s", identity, fault, exc_info=None if expected else fault)
            self.table.failed(
                identity,
                str(fault) if expected else f"{type(fault).__name__}: {fault}",
                trio.current_time(),
                first_s=self._settings.load_backoff_s,
                most_s=self._settings.load_backoff_most_s,
            )
        else:
            self._adapters[identity] = adapter
            self.known[identity] = Known(adapter.dims, adapter.max_sequence_length)
            self._took[identity] = trio.current_time() - self._began[identity]
            self.table.loaded(identity, adapter.memory_bytes, trio.current_time())
        self._count_change()

    async def _load_onto_device(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        try:
            return await self._device.load(identity, weights)
        except DeviceOutOfMemory as fault:
            victim = next(iter(self.table.idle()), None)
            if victim is None:
                raise ModelLoadFailed(f"{self._device.name} has no memory for it: {fault}") from fault
            log.warning("%s has no memory for %s: unloading %s, trying once more", self._device.name, identity, victim)
            await self._evict(victim)
        try:
            return await self._device.load(identity, weights)
        except DeviceOutOfMemory as fault:
            raise ModelLoadFailed(f"{self._device.name} has no memory for it: {fault}") from fault

    async def _make_room(self, identity: LoadIdentity, memory_bytes: int) -> None:
        """Unload what was used longest ago until so much fits; wait where only busy models could make room."""
        if self.table.budget_bytes is None:
            share = self._settings.memory_percent / 100
            self.table.budget_bytes = int(await self._device.memory_bytes() * share)
        self.table.place(identity).memory_bytes = memory_bytes
        while True:
            room = self.table.room_for(identity, memory_bytes)
            if room.verdict is Verdict.NEVER:
                raise ModelLoadFailed(
                    f"It takes {memory_bytes:,} bytes and all models together may take {self.table.budget_bytes:,}"
                )
            if room.victims:
                await self._evict(room.victims[0])  # and look again: meanwhile the next one may have got work
                continue
            if room.verdict is Verdict.FITS:
                return
            await self._changed.wait()

    async def _evict(self, identity: LoadIdentity) -> None:
        self._move(identity, Event.EVICTED)
        await self._release(identity)

    async def _release(self, identity: LoadIdentity) -> None:
        """Cancelled: it is still there, to be released at the end."""
        log.info("unloading %s", identity)
        try:
            await self._device.release(self._adapters[identity])
        except Exception:
            log.exception("unloading %s", identity)
        del self._adapters[identity]
        self.table.released(identity)
        self._count_change()

    def _remaining_s(self, identity: LoadIdentity) -> int:
        """When to ask again: the rest of what it took last time; past that, a quarter of what it has taken so far."""
        so_far = trio.current_time() - self._began.get(identity, trio.current_time())
        left = self._took.get(identity, self._settings.first_load_s) - so_far
        return math.ceil(min(max(left if left > 0 else so_far / 4, 1.0), self._settings.retry_after_most_s))

    # -- telling

    def _move(self, identity: LoadIdentity, event: Event) -> None:
        self.table.move(identity, event)
        self._count_change()

    def _count_change(self) -> None:
        self.changes += 1
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class _Using(AbstractAsyncContextManager[Adapter]):
    """Written out: as a generator it would cost each request three times as much."""

    def __init__(self, loading: Loading, identity: LoadIdentity, wait_s: float) -> None:
        self._loading = loading
        self._identity = identity
        self._wait_s = wait_s

    async def __aenter__(self) -> Adapter:
        self._place, adapter = await self._loading.hold(self._identity, self._wait_s)
        return adapter

    async def __aexit__(self, *_: object) -> None:
        self._loading.let_go(self._place)
