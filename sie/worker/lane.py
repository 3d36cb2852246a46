"""One thread that does jobs one after another, and the next of which it has at hand when it is done with one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import outcome
import trio

from sie.errors import ShuttingDown

T = TypeVar("T")


class Order(Generic[T]):
    """A job that a lane was given. `outcome`: what it returned or raised, once it has; `took_s`: how long it ran;
    `gone`: the lane is done with it, or was never asked to begin."""

    __slots__ = ("_begun", "_job", "_token", "_told", "gone", "outcome", "took_s")

    def __init__(self, job: Callable[[], T], told: Callable[[], None]) -> None:
        self.outcome: outcome.Outcome[T] | None = None
        self.took_s = 0.0
        self.gone = False
        self._job = job
        self._told = told
        self._token = trio.lowlevel.current_trio_token()
        self._begun = threading.Lock()  # whoever gets it first: the thread to begin, or who withdraws

    def withdraw(self) -> bool:
        """True: it had not begun, and never will, and `told` is not called. False: it runs, or has run."""
        return self._begun.acquire(blocking=False)

    def carry_out(self) -> bool:
        """In the lane's thread. False: nobody is left to tell."""
        if not self._begun.acquire(blocking=False):
            self.gone = True
            return True
        began = time.perf_counter()
        result = outcome.capture(self._job)
        self.took_s = time.perf_counter() - began
        self.outcome = result
        self.gone = True
        try:
            self._token.run_sync_soon(self._told)
        except trio.RunFinishedError:
            return False
        return True


class Lane:
    """Always the same thread, because CUDA's current device is a thread's property; and a daemon, because a call into
    a hung device must not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: queue.SimpleQueue[Order[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._last: Order[object] | None = None

    @property
    def idle(self) -> bool:
        """It does nothing, and will not until it is given something."""
        return self._last is None or self._last.gone

    def put(self, job: Callable[[], T], told: Callable[[], None]) -> Order[T]:
        """Have this job done after those before it; then, in Trio's thread, `told` is called, which must not raise.

        Raises ShuttingDown once closed.
        """
        if self._closed:
            raise ShuttingDown("This process takes no more work", retry_after_s=5)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"sie-{self._name}", daemon=True)
            self._thread.start()
        order = Order(job, told)
        self._last = cast("Order[object]", order)
        self._orders.put(self._last)
        return order

    async def run(self, job: Callable[[], T]) -> T:
        """Do this job after those before it, and return or raise what it does. Raises ShuttingDown once closed.

        Cancelled: a job that has not begun never will; one that has runs on, and its result is dropped.
        """
        done = trio.Event()
        order = self.put(job, done.set)
        try:
            await done.wait()
        except trio.Cancelled:
            order.withdraw()
            raise
        assert order.outcome is not None
        return order.outcome.unwrap()

    def close(self) -> None:
        """Let the thread end after the jobs it has; does not wait for it."""
        self._closed = True
        self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            if not order.carry_out():
                return
            del order  # or the last result would live until the next job
