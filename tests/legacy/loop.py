"""A process of SIE v0.1.10 stood in for by a thread: its own asyncio loop, real sockets, nothing of this project."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

_CALL_S = 20


class LoopThread:
    """Runs `_start`, then whatever it has spawned, then `_stop`, on a loop of its own. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._up = False

    async def _start(self) -> None:
        """Be there when it returns."""

    async def _stop(self) -> None:
        """Let go of everything."""

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it there, wait for it here."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """There, beside the rest, until the end. Only from that loop."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """The process ends. Doing it twice is fine."""
        if not self._up:
            return
        self._up = False
        try:
            self.call(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CALL_S)
            self._loop.close()

    async def _end(self) -> None:
        await self._stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def __enter__(self: T) -> T:
        assert isinstance(self, LoopThread)
        self._thread.start()
        self._up = True
        try:
            self.call(self._start())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
