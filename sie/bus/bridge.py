# Rule: nothing that Trio runs for the other thread (`_wake`) can raise: it would end the whole program.
"""The bridge to NATS, as Trio sees it: calls go over, events come back, each in batches."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sie.bus.events import Down, Event, Message, Missed, Subject, Up
from sie.bus.farside import Call, FarSide
from sie.bus.servers import Servers
from sie.errors import BusUnavailable
from sie.settings import Settings

log = logging.getLogger(__name__)

# For the other thread to end: it says goodbye to the server, and may be in the middle of resolving a name.
_THREAD_S = 1.5

# What a message costs beside its content.
_MESSAGE_BYTES = 256


class Bridge:
    """A connection that is kept, or tried again and again, while `run` runs.

    `connected` and `limit` (the most bytes of a message) are as of the newest event that `receive` gave out.
    """

    def __init__(self, servers: Servers, settings: Settings, *, name: str) -> None:
        """`name`: what the server's own tools call this connection."""
        self.connected = False
        self.limit = 0
        self._settings = settings
        self._far = FarSide(servers, settings, name, tell=self._hand_over, settle=self._settle)
        self._arrived = trio.Event()
        self._crash: BaseException | None = None
        # Each deque has one thread that appends and one that takes; each flag says that the other has been woken.
        self._orders: deque[Callable[[], None]] = deque()
        self._ordering = False
        self._events: deque[Event] = deque()
        self._settled: deque[trio.Event] = deque()
        self._waking = False
        self._missed = False
        self._bytes_in = 0  # of messages, counted where they are appended,
        self._bytes_out = 0  # and where they are taken

    # -- in Trio's thread

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connected until cancelled. Started at once, connected or not; once ended, its thread has ended too."""
        self._token = trio.lowlevel.current_trio_token()
        opening = start_blocking_portal("asyncio", name="sie-nats")
        living = await trio.to_thread.run_sync(self._start, opening)
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self.connected = False
            self._order(self._far.stop)
            with trio.move_on_after(_THREAD_S, shield=True) as patience:
                await trio.to_thread.run_sync(_end, opening, living, abandon_on_cancel=True)
            if patience.cancelled_caught:
                log.warning("the thread that speaks to NATS still waits for the network; it ends when that answers")

    def listen(self, subject: Subject) -> None:
        """Hear what is said there, over all connections to come. `Listening`, or `Up`, says from when on, each time."""
        self._order(partial(self._far.listen, subject))

    def leave(self, subject: Subject) -> None:
        """Hear it no more."""
        self._order(partial(self._far.leave, subject))

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send them, in order, and wait for the server to say that it has them all.

        Raises BusUnavailable: not connected, refused, or not confirmed in time; some may have gone out all the same.
        Cancelled: likewise.
        """
        if not self.connected:
            raise BusUnavailable("NATS is not connected")
        call = Call(trio.Event())
        self._order(partial(self._far.send, call, messages))
        try:
            with trio.move_on_after(self._settings.nats_publish_s):
                await call.settled.wait()
        finally:
            if not call.settled.is_set():
                self._order(partial(self._far.give_up, call))
        if not call.settled.is_set():
            raise BusUnavailable(f"NATS did not confirm it within {self._settings.nats_publish_s:g} s")
        if call.fault is not None:
            raise BusUnavailable(f"NATS: {call.fault}")

    def tell(self, message: Message) -> None:
        """Send it if that can be done; nobody learns whether it was."""
        self._order(partial(self._far.send, Call(trio.Event()), [message]))

    async def receive(self) -> Sequence[Event]:
        """What has happened since the last call, in order; waits until something has. One task calls this.

        Cancelled: nothing is lost.
        """
        await self._arrived.wait()
        self._arrived = trio.Event()
        if self._crash is not None:
            raise self._crash
        events = [self._take() for _ in range(len(self._events))]
        if self._missed:
            self._missed = False
            events.append(Missed())
        return events

    def _take(self) -> Event:
        event = self._events.popleft()
        if isinstance(event, Message):
            self._bytes_out += len(event.content) + _MESSAGE_BYTES
        elif isinstance(event, Up):
            self.connected, self.limit = True, event.limit
        elif isinstance(event, Down):
            self.connected = False
        return event

    def _wake(self) -> None:
        self._waking = False
        while self._settled:
            self._settled.popleft().set()
        if self._events or self._missed or self._crash is not None:
            self._arrived.set()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        if self._far.loop is not None and not self._ordering:
            self._ordering = True
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to take orders
                self._far.loop.call_soon_threadsafe(self._take_orders)

    # -- in a thread of Trio's, for it blocks

    def _start(self, opening: AbstractContextManager[BlockingPortal]) -> concurrent.futures.Future[None]:
        living = opening.__enter__().start_task_soon(self._far.live, self._take_orders)
        living.add_done_callback(self._ended)
        return living

    # -- in the loop's thread

    def _take_orders(self) -> None:
        self._ordering = False
        while self._orders:
            self._orders.popleft()()

    def _hand_over(self, event: Event) -> None:
        if isinstance(event, Message):
            cost = len(event.content) + _MESSAGE_BYTES
            if self._bytes_in - self._bytes_out + cost > self._settings.nats_backlog_bytes:
                # The newest, not the oldest: the same to whoever reads the truth after it, and no lock is needed.
                self._missed = True
                self._wake_soon()
                return
            self._bytes_in += cost
        self._events.append(event)
        self._wake_soon()

    def _settle(self, call: Call) -> None:
        self._settled.append(call.settled)
        self._wake_soon()

    def _ended(self, living: concurrent.futures.Future[None]) -> None:
        self._crash = None if living.cancelled() else living.exception()
        self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._waking:
            self._waking = True
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._wake)


def _end(opening: AbstractContextManager[BlockingPortal], living: concurrent.futures.Future[None]) -> None:
    # In this order: while it lives, the far side takes every task on its loop that is not its own for a stray.
    concurrent.futures.wait([living])
    opening.__exit__(None, None, None)
