"""The writer: one task that owns the commit. Handlers hand it orders and wait; hanging up never tears a write."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from sie.bus.contract import Bus
from sie.catalog.change import ChangeLimits
from sie.errors import (
    BusUnavailable,
    ContentConflict,
    OutcomeUnknown,
    RevisionTaken,
    ShuttingDown,
    SieError,
    StoreCorrupt,
    StoreUnavailable,
)
from sie.flow import Commit, Order, fulfil
from sie.observe.durations import Durations
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


_COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterStatistics:
    """`orders`: those settled since the start, by outcome; `commits`: how long those took that created something.

    `answers`: of those that were posted, by whether workers had confirmed when they were answered.
    """

    waiting: int
    orders: Mapping[str, int]
    commits: Durations
    answers: Mapping[str, int]


class Writer:
    """Takes orders one at a time, in the order they came."""

    def __init__(self, head: Head, bus: Bus, settings: Settings) -> None:
        self.head = head
        self.bus = bus
        self.settings = settings
        self._desk, self._inbox = trio.open_memory_channel[_Ticket](settings.orders_waiting)
        self._tell_again_at = -math.inf  # on Trio's clock
        self._imported: str | None = None  # the store that was looked through for what SIE v0.1.10 left
        self._orders: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._commits = Durations(_COMMIT_BOUNDS_S)
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

    def statistics(self) -> WriterStatistics:
        return WriterStatistics(
            waiting=self._inbox.statistics().current_buffer_used,
            orders=dict(self._orders),
            commits=self._commits,
            answers=dict(self._answers),
        )

    def note_answer(self, *, pending: bool) -> None:
        """An order was answered, with the workers' confirmation or without."""
        self._answers["pending" if pending else "confirmed"] += 1

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
            self._orders["turned_away"] += 1
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
        unread = self.settings.restore and not self.head.folded
        return unread or self.head.trouble is not None or self.head.in_doubt is not None

    async def _next(self) -> _Ticket | None:
        """The next order; None when it is time to try an absent store again."""
        # Jittered: routers that lost the store together must not all ask for it together.
        with trio.move_on_after(self.settings.store_retry_s * random.uniform(0.5, 1) if self._owes_fold else math.inf):
            return await self._inbox.receive()
        return None

    async def _try_again(self) -> None:
        try:
            if self.settings.restore or self.head.store_id:
                await self._read_whole()  # also if not asked for at start: a change was posted and could not be judged
            else:
                await self.head.reach()
            await self._settle_doubt()
            await self._tell_unsaid()
        except StoreUnavailable as fault:
            log.debug("the config store is still away: %s", fault.message)
        else:
            log.info("the config store answers again, at revision %d", self.head.revision)

    async def _settle_doubt(self) -> None:
        """Put an entry that was answered with `unknown` again, until it or another's has its number.

        Or it might land at any time, and nobody would hear of it. Raises StoreUnavailable: not yet.
        """
        entry = self.head.in_doubt
        if entry is not None:
            try:
                await self.head.append(entry, deadline=trio.current_time() + self.settings.store_timeout_s)
            except RevisionTaken:
                await self.head.read_on()
            else:
                self.head.unsaid.append(self.head.advance(entry))

    async def _read_whole(self) -> None:
        await self.head.read_on()
        if self._imported != self.head.store_id:
            await import_legacy(self.head, self.bus, patience_s=self.settings.commit_timeout_s)
            self._imported = self.head.store_id

    async def _carry_out(self, ticket: _Ticket) -> None:
        began = trio.current_time()
        try:
            if trio.current_time() > ticket.deadline:
                raise StoreUnavailable("too many changes were waiting; this one was not taken", retry_after_s=1)
            if ticket.order is None or self._imported != self.head.store_id:
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
            if ticket.order is not None:
                self._orders[outcome := _outcome(ticket)] += 1
                if outcome == "created":
                    self._commits.note(trio.current_time() - began)
        await self._tell_unsaid()

    async def _tell_unsaid(self) -> None:
        """Publish what is in the log and was not told of: the bus could not, or the write had been in doubt."""
        unsaid = self.head.unsaid
        while unsaid and self.bus.connected and trio.current_time() >= self._tell_again_at:
            try:
                await self.bus.publish(unsaid[0])
            except BusUnavailable as lost:
                log.debug("revision %d is told later: %s", unsaid[0].entry.revision, lost)
                self._tell_again_at = trio.current_time() + self.settings.nats_publish_s
                return
            except Exception:
                # One that cannot be told must not end the writer; workers find it by its number.
                log.exception("revision %d cannot be told", unsaid[0].entry.revision)
            unsaid.popleft()

    def _turn_away(self) -> None:
        gone = ShuttingDown("this process is shutting down; the change was not taken", retry_after_s=1)
        while True:
            try:
                self._inbox.receive_nowait().settle(error=gone)
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return


def _outcome(ticket: _Ticket) -> str:
    """How an order ended, in a word."""
    match ticket:
        case _Ticket(commit=Commit(dry_run=True)):
            return "rehearsed"
        case _Ticket(commit=Commit(status=status)):
            return "created" if status == 201 else "unchanged"
        case _Ticket(error=ContentConflict()):
            return "conflict"
        case _Ticket(error=OutcomeUnknown()):
            return "unknown"
        case _Ticket(error=StoreUnavailable() | BusUnavailable() | ShuttingDown()):
            return "unavailable"
        case _Ticket(error=SieError()):
            return "refused"
    return "failed"
