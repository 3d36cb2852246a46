"""The writer: one task that owns the commit. Handlers hand it orders and wait; hanging up never tears a write."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import trio

from sie.bus.contract import Bus
from sie.catalog.change import ChangeLimits
from sie.errors import BusUnavailable, OutcomeUnknown, ShuttingDown, SieError, StoreCorrupt, StoreUnavailable
from sie.flow import Commit, Order, fulfil
from sie.router.head import Head
from sie.router.legacy import import_legacy
from sie.settings import Settings

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Ticket:
    """One order on its way: settled exactly once, by the writer."""

    order: Order | None  # None: only read what the store has
    deadline: float  # Trio's clock
    settled: trio.Event = field(default_factory=trio.Event)
    withdrawn: bool = False
    commit: Commit | None = None
    error: BaseException | None = None

    def settle(self, commit: Commit | None = None, error: BaseException | None = None) -> None:
        self.commit, self.error = commit, error
        self.settled.set()


class Writer:
    """Takes orders one at a time, in the order they came."""

    def __init__(self, head: Head, bus: Bus, settings: Settings) -> None:
        self.head = head
        self.bus = bus
        self.settings = settings
        self._desk, self._inbox = trio.open_memory_channel[_Ticket](settings.orders_waiting)
        self._imported = False
        self.unheard: str | None = None  # why the workers cannot hear of a change, where they cannot

    @property
    def patience_s(self) -> float:
        """How long an answer waits for workers to confirm: not at all for those who cannot have heard."""
        return 0 if self.unheard else self.settings.ack_patience_s

    @property
    def limits(self) -> ChangeLimits:
        return self.head.limits

    @property
    def router_id(self) -> str:
        return self.head.router_id

    def require_bus(self) -> None:
        """Raises BusUnavailable while the bus is configured and away."""
        if not self.bus.connected:
            raise BusUnavailable("the bus is not connected: nothing was stored; try again when NATS is back")

    async def submit(self, order: Order) -> Commit:
        """Have the order carried out. Raises what `fulfil` raises, or StoreUnavailable when too many orders wait.

        Cancelled before the writer took it: withdrawn, nothing happens. After that it runs to its end without us.
        """
        commit = (await self._have_settled(order)).commit
        assert commit is not None
        return commit

    async def refresh(self) -> None:
        """Fold what other writers added to the store. Raises StoreUnavailable, ShuttingDown. Several at once are one.

        Cancelled: whatever was read stays.
        """
        await self._have_settled(None)

    async def _have_settled(self, order: Order | None) -> _Ticket:
        await trio.lowlevel.checkpoint_if_cancelled()
        ticket = _Ticket(order, trio.current_time() + self.settings.commit_timeout_s)
        try:
            self._desk.send_nowait(ticket)
        except trio.WouldBlock:
            raise StoreUnavailable(
                f"{self.settings.orders_waiting} changes are waiting already", retry_after_s=1
            ) from None
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise ShuttingDown("this process is shutting down", retry_after_s=1) from None
        try:
            await ticket.settled.wait()
        finally:
            ticket.withdrawn = True
        if ticket.error is not None:
            raise ticket.error
        return ticket

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve orders until cancelled. Says started once the store is read, where settings ask for that first.

        Raises StoreCorrupt at start, naming what is wrong: a process must not run on half a truth. A store that is
        merely away does not stop it; it is tried again and again.
        """
        with self._desk, self._inbox:
            try:
                await self._start()
                async with trio.open_nursery() as snapshots:  # they take seconds once a catalog is large
                    task_status.started()
                    while True:
                        ticket = await self._next()
                        if ticket is None:
                            await self._try_again()
                        elif not ticket.withdrawn:
                            await self._carry_out(ticket)
                            if self.head.snapshot_due:
                                snapshots.start_soon(self.head.save_snapshot)
            finally:
                self._turn_away()

    async def _start(self) -> None:
        try:
            if self.settings.restore or self.head.in_memory:
                await self._read_whole()
            elif self.head.durable:
                log.warning("SIE_CONFIG_RESTORE is not set: stored models stay unknown until a change is posted")
        except StoreCorrupt:
            raise
        except StoreUnavailable as fault:
            log.error("the config store cannot be read yet, serving filesystem models: %s", fault.message)

    @property
    def _owes_fold(self) -> bool:
        return self.head.trouble is not None or (self.settings.restore and not self.head.folded)

    async def _next(self) -> _Ticket | None:
        """The next order; None when it is time to try an absent store again."""
        with trio.move_on_after(self.settings.store_retry_s if self._owes_fold else math.inf):
            return await self._inbox.receive()
        return None

    async def _try_again(self) -> None:
        try:
            if self.settings.restore or self.head.store_id:
                await self._read_whole()  # also if not asked for at start: a change was posted and could not be judged
            else:
                await self.head.reach()
        except StoreUnavailable as fault:
            log.debug("the config store is still away: %s", fault.message)
        else:
            log.info("the config store answers again, at revision %d", self.head.revision)

    async def _read_whole(self) -> None:
        await self.head.read_on()
        if not self._imported:
            await import_legacy(self.head, self.bus, patience_s=self.settings.commit_timeout_s)
            self._imported = True

    async def _carry_out(self, ticket: _Ticket) -> None:
        try:
            if trio.current_time() > ticket.deadline:
                raise StoreUnavailable("too many changes were waiting; this one was not taken", retry_after_s=1)
            if ticket.order is None or not self._imported:
                await self._read_whole()
            if ticket.order is None:
                ticket.settle()
            else:
                ticket.settle(await fulfil(ticket.order, head=self.head, bus=self.bus, deadline=ticket.deadline))
        except SieError as error:
            ticket.settle(error=error)
        except Exception as error:
            # One order that meets a fault of ours must not end the writer for all others.
            log.exception("an order failed in a way nobody foresaw")
            ticket.settle(error=error)
        finally:
            if not ticket.settled.is_set():  # the writer itself is being stopped
                ticket.settle(error=OutcomeUnknown("the writer was stopped while the change was on its way"))

    def _turn_away(self) -> None:
        gone = ShuttingDown("this process is shutting down; the change was not taken", retry_after_s=1)
        while True:
            try:
                self._inbox.receive_nowait().settle(error=gone)
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return
