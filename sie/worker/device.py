"""Where models run: threads of our own, each doing one thing at a time, and the seam behind which they stand."""

from __future__ import annotations

import functools
import gc
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar, cast

import outcome
import trio

from sie.catalog.adapters import LOADTIME_VALUES
from sie.errors import ConfigurationError, ModelLoadFailed
from sie.settings import Settings
from sie.worker.adapters.contract import Adapter, LoadOrder, Result, Row, RunOptions, Text, Tokens
from sie.worker.identity import LoadIdentity
from sie.worker.lane import Lane
from sie.worker.weights import Weights, find_weights

log = logging.getLogger("sie.worker.device")
T = TypeVar("T")

# Downloads wait for the network, not for a core; more at once only share the line.
DOWNLOADS = 4
# So much text, about 200 tokens, is tokenised on the spot, in 0.2 ms: to another thread and back takes as long.
AT_ONCE_CHARACTERS = 1024
PRECISIONS = ("float32", "float16", "bfloat16")


class DeviceOutOfMemory(Exception):
    """The device had no memory for this; less may fit."""


class Running(Protocol):
    """A batch that a device was given."""

    @property
    def outcome(self) -> outcome.Outcome[list[Result]] | None:
        """None until it has run."""

    @property
    def took_s(self) -> float:
        """How long it ran."""

    def withdraw(self) -> bool:
        """True: it had not begun, never will, and nobody is told. False: it runs, or has run."""


class Device(Protocol):
    """Everything that leaves the event loop. A test's device keeps Trio's clock instead of real time.

    Cancelled out of any method, the work may still be done, and its result is dropped.
    """

    @property
    def name(self) -> str:
        """cpu, cuda:0, … ; "auto" until a model has been loaded."""

    async def memory_bytes(self) -> int:
        """All the memory it has."""

    async def find(self, identity: LoadIdentity) -> Weights:
        """Where the weights lie, after a download if need be. Raises ModelLoadFailed naming the places looked at."""

    async def load(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        """Raises DeviceOutOfMemory, or anything else the model's loading raises."""

    async def tokenise(self, adapter: Adapter, texts: Sequence[Text], options: RunOptions) -> list[Tokens]: ...

    def begin(self, adapter: Adapter, rows: Sequence[Row], told: Callable[[], None]) -> Running:
        """Run them after what was begun before, and then call `told`, which must not raise. Returns at once.

        The outcome may be DeviceOutOfMemory, or anything else the model raises.
        """

    async def release(self, adapter: Adapter) -> None:
        """After whatever runs now."""

    async def host(self, job: Callable[[], T]) -> T:
        """A job of some milliseconds that needs no device."""

    def close(self) -> None:
        """Let the threads end once what they do now is done; does not wait."""


class ThreadedDevice:
    """The real one: PyTorch, imported in the loader's thread when the first model is wanted and not before."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError for a default precision or backend that there is not."""
        if (precision := settings.default_precision) not in (None, *PRECISIONS):
            raise ConfigurationError(f"SIE_DEFAULT_COMPUTE_PRECISION={precision!r}: say {', '.join(PRECISIONS)}")
        if settings.backend not in (backends := LOADTIME_VALUES["backend"]):
            raise ConfigurationError(f"SIE_BACKEND={settings.backend!r}: say {', '.join(map(str, backends))}")
        self._settings = settings
        self._device_lane = Lane("device")
        self._loading = trio.Lock()
        self._host_lane = Lane("host")
        self._downloads = trio.CapacityLimiter(DOWNLOADS)
        self._name: str | None = None

    @property
    def name(self) -> str:
        return self._name or self._settings.device

    async def memory_bytes(self) -> int:
        return await self._apart(self._memory_bytes)

    async def find(self, identity: LoadIdentity) -> Weights:
        # A download may be left alone: it only fills a cache, and the next one takes up where it stopped.
        weights = await trio.to_thread.run_sync(
            find_weights, identity, self._settings, abandon_on_cancel=True, limiter=self._downloads
        )
        precision = await self._apart(lambda: self._precision(identity))
        return weights if precision == "float32" else replace(weights, memory_bytes=weights.memory_bytes // 2)

    async def load(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        return await self._apart(functools.partial(self._load, identity, weights))

    async def tokenise(self, adapter: Adapter, texts: Sequence[Text], options: RunOptions) -> list[Tokens]:
        if self._host_lane.idle and _characters(texts) <= AT_ONCE_CHARACTERS:
            await trio.lowlevel.checkpoint_if_cancelled()
            return adapter.tokenise(texts, options)
        return await self._host_lane.run(lambda: adapter.tokenise(texts, options))

    def begin(self, adapter: Adapter, rows: Sequence[Row], told: Callable[[], None]) -> Running:
        return self._device_lane.put(lambda: self._on_device(lambda: adapter.run(rows)), told)

    async def release(self, adapter: Adapter) -> None:
        await self._device_lane.run(lambda: self._on_device(adapter.release))

    async def host(self, job: Callable[[], T]) -> T:
        return await self._host_lane.run(job)

    def close(self) -> None:
        for lane in (self._device_lane, self._host_lane):
            lane.close()

    async def _apart(self, job: Callable[[], T]) -> T:
        """One at a time, in a thread that ends with it: as long as a thread lives that has once run a model, so do its
        helpers, and OpenMP lets the device's sleep between any two steps: a short text took 12 ms for 9."""
        async with self._loading:
            lane = Lane("loader")
            try:
                return await lane.run(job)
            finally:
                lane.close()

    # -- in the threads

    def _choose(self) -> str:
        if self._name is None:
            self._settings.bound_onednn()
            torch = import_for_good("torch")
            asked = self._settings.device
            if asked == "auto":
                asked = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            self._name = "cuda:0" if asked == "cuda" else asked
        return self._name

    def _precision(self, identity: LoadIdentity) -> str:
        usual = "float16" if self._choose().startswith("cuda") else "float32"
        return identity.precision or self._settings.default_precision or usual

    def _memory_bytes(self) -> int:
        name = self._choose()
        if name.startswith("cuda"):
            import torch

            return int(torch.cuda.get_device_properties(name).total_memory)
        return host_memory_bytes()

    def _load(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        name = self._choose()
        loadtime = identity.loadtime
        trust = loadtime.get("trust_remote_code") is True
        order = LoadOrder(
            path=weights.path,
            device=name,
            precision=self._precision(identity),
            max_sequence_length=identity.max_sequence_length,
            loadtime=loadtime,
            trust_remote_code=trust and self._settings.allow_remote_code,
            allow_pickle=self._settings.allow_pickle,
            backend=str(loadtime.get("backend") or self._settings.backend),
            graphs=self._settings.graphs,
        )
        log.info("loading %s from %s (%s) onto %s, %s", identity, weights.path, weights.place, name, order.precision)
        began = time.monotonic()
        module, _, name = identity.implementation.partition(":")
        try:
            adapter = cast("Adapter", self._on_device(lambda: getattr(import_for_good(module), name)(order)))
        except DeviceOutOfMemory:
            raise
        except Exception as fault:
            if trust and not self._settings.allow_remote_code:
                raise ModelLoadFailed(
                    f"{fault} (the model asks for trust_remote_code, which SIE_ALLOW_REMOTE_CODE does not allow)"
                ) from fault
            raise
        log.info("loaded %s in %.1f s, %.1f MiB", identity, time.monotonic() - began, adapter.memory_bytes / 2**20)
        return adapter

    def _on_device(self, job: Callable[[], T]) -> T:
        if self._name is not None and self._name.startswith("cuda"):
            import torch

            torch.cuda.set_device(self._name)
        try:
            return job()
        except Exception as fault:
            if isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError":  # torch's
                raise DeviceOutOfMemory(str(fault)) from fault
            raise


def _characters(texts: Sequence[Text]) -> int:
    return sum(len(text) if isinstance(text, str) else len(text[0]) + len(text[1]) for text in texts)


def import_for_good(name: str) -> ModuleType:
    """Import a module that stays until the process ends, with all that it imports, and spare the collector of it.

    The collector stops every thread while it walks over all objects there are. Half a million of them belong to torch
    and transformers: 250 ms at a time, again and again while they are imported and with every large request after.

    Raises ModelLoadFailed if it, or what it needs, is not installed.
    """
    if name not in sys.modules:
        gc.collect()  # what is frozen below and is garbage stays
        collecting = gc.isenabled()
        gc.disable()
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as missing:
            raise ModelLoadFailed(
                f"{missing}: models run with the extra `models` only (pip install 'sie[models]')"
            ) from None
        finally:
            gc.freeze()
            if collecting:
                gc.enable()
    return sys.modules[name]


def host_memory_bytes() -> int:
    """What this process may use: the machine's memory, or its container's limit where that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
    return min(limits)
