"""How the one worker of this process stands: kept, told at every change, and written as the message routers read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import trio

from sie.catalog.catalog import Catalog
from sie.catalog.digest import bundle_config_hash
from sie.catalog.model import Model
from sie.http.version import server_version
from sie.wire.status import WorkerStatus
from sie.wire.status_message import Device, Process, write_status
from sie.worker.compute import ComputeStatistics
from sie.worker.worker import Worker

_SHARE = 0.1  # of its time that a walk through the catalog may take from everybody else
_NEWS_FIRST_S = 0.1  # before a walk: somebody waits for the news itself, and nobody for a hash
_NAMED_MOST = 64  # models named for one set of weights; no message has room for more


class Standing:
    """Told by the worker's supervisor; anybody may ask and wait.

    `draining`: nothing new is to come here. `gone`: what was under way is done.
    """

    def __init__(self, worker: Worker) -> None:
        self.draining = False
        self.gone = False
        self.changes = 0
        self._worker = worker
        self._changed = trio.Event()
        self._began = time.monotonic()
        self._hash = ""
        self._users: Mapping[str, Sequence[Model]] = {}

    # -- told

    def heard(self, status: WorkerStatus) -> None:
        """The worker said how it stands."""
        self.wake()

    def left(self, key: str) -> None:
        """The worker is down."""
        self.wake()

    def drain(self) -> None:
        """Not ready any more, and never again."""
        self.draining = True
        self.wake()

    def leave(self) -> None:
        """Nothing is under way any more: whoever watches is let go."""
        self.draining = self.gone = True
        self.wake()

    def wake(self) -> None:
        """Something about it has changed."""
        self.changes += 1
        self._changed.set()
        self._changed = trio.Event()

    # -- asked

    @property
    def ready(self) -> bool:
        return self._worker.status().ready and not self.draining

    async def wait_changed(self, seen: int) -> int:
        """Wait until there have been more than `seen` changes; returns how many. None is lost to who asks in a loop."""
        while self.changes <= seen:
            await self._changed.wait()
        return self.changes

    async def wait_until(self, met: Callable[[], bool]) -> None:
        """`met` is asked now and at every change."""
        seen = self.changes
        while not met():
            seen = await self.wait_changed(seen)

    def message(self) -> str:
        """The message of `/ws/status`, for now. Its `bundle_config_hash` may be that of a moment ago."""
        load = self._worker.compute.statistics()
        models = list(self._models(load))
        memory_bytes = load.memory_budget_bytes or 0
        status = replace(
            self._worker.status(),
            ready=self.ready,
            bundle_config_hash=self._hash,
            loaded_models=[one["name"] for one in models if one["state"] == "loaded"],
            queue_depth=load.queue_depth,
        )
        process = Process(
            timestamp=time.time(),
            version=server_version(),
            uptime_s=int(time.monotonic() - self._began),
            pid=os.getpid(),
            device=Device(name=load.device, memory_used_bytes=load.memory_used_bytes, memory_total_bytes=memory_bytes),
            models=models,
        )
        return write_status(status, process).decode()

    def _models(self, load: ComputeStatistics) -> Iterator[Mapping[str, Any]]:
        """Each model that is more than configured."""
        compute = self._worker.compute
        told: set[str] = set()
        for one in load.models:
            for model in self._users.get(one.identity.weights, ()):
                state = compute.state(model)
                if model.sie_id not in told and state != "available":
                    told.add(model.sie_id)
                    yield {
                        "name": model.sie_id,
                        "state": state,
                        "memory_bytes": one.memory_bytes,
                        "queue_depth": compute.queue_depth(model),
                    }

    # -- kept

    async def run(self) -> None:
        """Keep it current until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_models)
            nursery.start_soon(self._walk_now_and_then)

    async def _watch_models(self) -> None:
        seen = self._worker.compute.changes
        while True:
            seen = await self._worker.compute.wait_changed(seen)
            self.wake()

    async def _walk_now_and_then(self) -> None:
        """What takes a walk through the bundle comes after the news that made it necessary, and in a thread."""
        walked: tuple[Catalog, int, frozenset[str]] | None = None
        while True:
            await trio.sleep(_NEWS_FIRST_S)
            seen = self.changes
            catalog, bundle = self._worker.known.catalog, self._worker.bundle
            weights = frozenset(one.identity.weights for one in self._worker.compute.statistics().models)
            now = catalog, catalog.changes, weights
            if now != walked:
                began = trio.current_time()
                models = catalog.in_bundle(bundle)
                self._hash, self._users = await trio.to_thread.run_sync(_walk, models, weights)
                walked = now
                self.wake()
                await trio.sleep((trio.current_time() - began) * (1 / _SHARE - 1))
            await self.wait_changed(seen)


def _walk(models: Iterable[Model], weights: frozenset[str]) -> tuple[str, Mapping[str, Sequence[Model]]]:
    """The bundle's hash, and which models use the weights."""
    users: dict[str, list[Model]] = {one: [] for one in weights}
    for model in models if weights else ():
        used = users.get(model.hub_id, users.get(str(model.fields.get("weights_path"))))
        if used is not None and len(used) < _NAMED_MOST:
            used.append(model)
    return bundle_config_hash(models), users
