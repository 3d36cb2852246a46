"""A request's way through the device, and the loop that keeps the device busy.

While the device runs one batch, the next is on its way to it already: chosen from what waits, and chosen anew, as long
as it has not begun, when something comes that changes the choice. Meanwhile the texts after it are tokenised.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import trio

from sie.errors import InferenceFailed, QueueFull, ShuttingDown
from sie.settings import KIB, Settings
from sie.worker.adapters.contract import Adapter, Result, Row, Text
from sie.worker.batching import Batch
from sie.worker.counts import Counts
from sie.worker.device import Device, DeviceOutOfMemory, Running
from sie.worker.identity import LoadIdentity
from sie.worker.loading import Loading
from sie.worker.schedule import Schedule, Turn
from sie.worker.sharing import InFlight, Kept, Key, Waiter
from sie.worker.ticket import Done, Ticket, Work

log = logging.getLogger("sie.worker.pipeline")

# What is tokenised in one go, about 5 ms: in between, other requests get their turn and the device its first items.
CHUNK_TEXTS = 64
CHUNK_CHARACTERS = 64 * KIB
# One batch runs, one waits behind it: a third would only be chosen too early.
_ON_DEVICE = 2


@dataclass(slots=True, eq=False)
class _Sent:
    """What the device was given. `batch`: as its queue knows it; None for half of one that was too large."""

    identity: LoadIdentity
    adapter: Adapter
    rows: Sequence[Row]
    keys: Sequence[Hashable]
    batch: Batch | None = None
    taken: bool = False  # because it runs; until then it waits in the schedule as well, and may be withdrawn
    at: float = 0.0
    turn: Turn | None = None
    running: Running | None = None

    @property
    def padded_tokens(self) -> int:
        return len(self.rows) * max(len(row.tokens) for row in self.rows)


class Pipeline:
    """A request's way through the device: tokenised, in line, in a batch, answered."""

    def __init__(self, settings: Settings, device: Device, loading: Loading) -> None:
        self._settings = settings
        self._device = device
        self._loading = loading
        self._numbers = itertools.count()
        self._tickets: dict[int, Ticket] = {}
        self._pending: Counter[LoadIdentity] = Counter()  # items admitted and not answered
        self._untokenised: Counter[LoadIdentity] = Counter()  # of those
        self._schedule = Schedule(
            self._tickets,
            start_tokens=settings.batch_start_tokens,
            overhead=settings.batch_overhead_percent / 100,
        )
        self._sent: deque[_Sent] = deque()  # the first runs
        self._halves: deque[_Sent] = deque()
        self._choose_anew = False
        self._in_flight = InFlight()
        self._kept = Kept(settings.embedding_cache_bytes)
        self._woken = trio.Event()
        self._open = False
        self.counts: dict[LoadIdentity, Counts] = {}

    def pending(self, identity: LoadIdentity) -> int:
        """Items of this model that are admitted and not answered yet."""
        return self._pending[identity]

    async def submit(
        self, identity: LoadIdentity, adapter: Adapter, works: Sequence[Work], max_batch_tokens: int
    ) -> Done:
        """Run all of it, and wait. The caller sees to it that the model stays loaded meanwhile.

        Raises QueueFull at once, also if the deadline around this is sooner than the queue allows; InferenceFailed if
        the adapter raised on a batch this was in; ShuttingDown. Cancelled: what does not run yet never will.
        """
        count = sum(len(work.texts) for work in works)
        ticket = self._admit(identity, adapter, count, max_batch_tokens)
        try:
            await self._tokenise(ticket, works)
            await ticket.done.wait()
        finally:
            self._leave(ticket)
        if ticket.fault is not None:
            raise ticket.fault
        return Done(
            results=cast("list[Result]", ticket.results),
            tokens=ticket.tokens,
            tokenise_s=ticket.tokenise_s,
            run_s=ticket.run_s,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the device busy until cancelled; an adapter that raises fails its requests and nothing else."""
        self._open = True
        task_status.started()
        try:
            while True:
                self._woken = trio.Event()
                self._take_results()
                self._send_batches()
                await self._woken.wait()
        finally:
            self._open = False
            self._withdraw()
            for ticket in self._tickets.values():
                ticket.fail(_shutting_down())

    # -- a request's side

    def _admit(self, identity: LoadIdentity, adapter: Adapter, count: int, max_batch_tokens: int) -> Ticket:
        if not self._open:
            raise _shutting_down()
        pending = self.pending(identity)
        # A request larger than the bound may have an empty queue to itself, or it could never run at all.
        if pending and pending + count > self._settings.queue_items:
            raise QueueFull(
                f"{pending} items wait for {identity}, {count} more would be above {self._settings.queue_items}",
                retry_after_s=self._retry_after_s(identity, pending),
            )
        now = trio.current_time()
        deadline = trio.current_effective_deadline()
        ceiling = min(max_batch_tokens, adapter.batch_tokens or max_batch_tokens)
        if pending and deadline < math.inf:
            mean = self._counts(identity).mean_tokens
            wait_s = self._schedule.in_time(
                identity,
                own=count * mean,
                coming=self._untokenised[identity] * mean,
                ceiling=ceiling,
                running_s=self._running_s(now),
                left_s=deadline - now,
            )
            if wait_s is not None:
                raise QueueFull(
                    f"{pending} items wait for {identity}, about {wait_s:.1f} s, "
                    f"and this request has {max(0.0, deadline - now):.1f} s",
                    retry_after_s=self._retry_after_s(identity, pending),
                )
        self._pending[identity] += count
        self._untokenised[identity] += count
        ticket = Ticket(
            number=next(self._numbers),
            arrived=now,
            deadline=deadline,
            identity=identity,
            adapter=adapter,
            ceiling=ceiling,
            results=[None] * count,
            left=count,
            untokenised=count,
        )
        self._tickets[ticket.number] = ticket
        return ticket

    async def _tokenise(self, ticket: Ticket, works: Sequence[Work]) -> None:
        position = 0
        for work in works:
            for texts in chunks(work.texts):
                began = trio.current_time()
                try:
                    tokenised = await self._device.tokenise(ticket.adapter, texts, work.options)
                except Exception as fault:
                    log.exception("tokenising for %s", ticket.identity)
                    ticket.fail(InferenceFailed(f"The text could not be tokenised: {_said(fault)}"))
                ticket.tokenise_s += trio.current_time() - began
                if ticket.fault is not None:
                    return
                rows = [Row(tokens, work.outputs, work.options) for tokens in tokenised]
                self._let_in(ticket, position, rows)
                position += len(rows)

    def _let_in(self, ticket: Ticket, position: int, rows: Sequence[Row]) -> None:
        """Rows of the request, from this position on: into the queue, but for those that somebody else has run."""
        ticket.untokenised -= len(rows)
        self._untokenised[ticket.identity] -= len(rows)
        leading = []
        for at, row in enumerate(rows, position):
            ticket.tokens += len(row.tokens)
            key = Key(ticket.identity, row)
            if (kept := self._kept.get(key)) is not None:
                ticket.answer(at, kept)
            else:
                ticket.rows[at], ticket.keys[at] = row, key
                if self._in_flight.join(key, Waiter(ticket.number, at)):
                    leading.append(Waiter(ticket.number, at))
                    continue
            self._counts(ticket.identity).shared += 1
        self._queue(ticket.identity, leading)

    def _queue(self, identity: LoadIdentity, leading: Sequence[Waiter]) -> None:
        if not leading:
            return
        self._schedule.add(identity, [self._tickets[one.request].waiting(one.position) for one in leading])
        self._choose_anew = True
        self._woken.set()

    def _leave(self, ticket: Ticket) -> None:
        self._remove_items(ticket)
        del self._tickets[ticket.number]
        self._untokenised[ticket.identity] -= ticket.untokenised
        self._pending[ticket.identity] -= len(ticket.results)
        for counted in (self._untokenised, self._pending):
            if not counted[ticket.identity]:
                del counted[ticket.identity]

    def _remove_items(self, ticket: Ticket) -> None:
        """Whoever waits for the same as it leads now: what it led and is not on the device goes back into the queue."""
        last = self._not_begun
        if (
            last is not None
            and last.batch is not None
            and any(one.request == ticket.number for one in last.batch.items)
        ):
            self._withdraw()
            self._woken.set()
        self._schedule.remove(ticket.identity, ticket.number)
        heirs = []
        for position, key in ticket.keys.items():
            heir = self._in_flight.leave(key, Waiter(ticket.number, position))
            if heir is not None and heir.request != ticket.number:
                heirs.append(heir)
        ticket.rows.clear()
        ticket.keys.clear()
        self._queue(ticket.identity, heirs)

    def _running_s(self, now: float) -> float:
        """How long what runs still will."""
        running = [one for one in self._sent if one.taken]
        if not running:
            return 0.0
        whole_s = sum(self._schedule.cost(one.identity).seconds(one.padded_tokens) for one in running)
        return max(0.0, whole_s - (now - running[0].at))

    def _retry_after_s(self, identity: LoadIdentity, pending: int) -> int:
        counts = self.counts.get(identity)
        wait_s = pending * counts.run_s / counts.items if counts and counts.items else 1.0
        return max(1, math.ceil(min(wait_s, self._settings.retry_after_most_s)))

    # -- the device's side

    def _send_batches(self) -> None:
        """So that one runs and one waits behind it, the best there is now."""
        if self._choose_anew:
            self._withdraw()
        self._choose_anew = False
        while len(self._sent) < _ON_DEVICE and (chosen := self._half() or self._choose()):
            chosen.running = self._device.begin(chosen.adapter, chosen.rows, self._wake)
            self._sent.append(chosen)
            if len(self._sent) == 1:
                self._take(chosen)

    def _half(self) -> _Sent | None:
        """Of a batch that was too large, unless another half runs: it may yet fail whoever waits for this one."""
        while self._halves and not self._sent:
            half = self._halves.popleft()
            if any(self._in_flight.waits(key) for key in half.keys):
                return half
            for key in half.keys:
                self._in_flight.settle(key)
        return None

    def _choose(self) -> _Sent | None:
        # What may be withdrawn still waits in the schedule: nothing can be chosen beside it.
        if self._not_begun is not None:
            return None
        now = trio.current_time()
        if (chosen := self._schedule.choose(now + self._running_s(now))) is None:
            return None
        identity, batch = chosen
        tickets = [self._tickets[item.request] for item in batch.items]
        return _Sent(
            identity,
            tickets[0].adapter,
            rows=[one.rows[item.position] for one, item in zip(tickets, batch.items, strict=True)],
            keys=[one.keys[item.position] for one, item in zip(tickets, batch.items, strict=True)],
            batch=batch,
        )

    def _take(self, sent: _Sent) -> None:
        """It runs, or is about to and cannot be withdrawn."""
        sent.taken, sent.at = True, trio.current_time()
        self._loading.touch(sent.identity)
        if sent.batch is None:
            return
        sent.turn = self._schedule.take(sent.identity, sent.batch, sent.at)
        for item, key in zip(sent.batch.items, sent.keys, strict=True):
            self._tickets[item.request].rows.pop(item.position)
            self._in_flight.run(key)

    @property
    def _not_begun(self) -> _Sent | None:
        """What lies behind the batch that runs, as far as is known."""
        return self._sent[-1] if self._sent and not self._sent[-1].taken else None

    def _withdraw(self) -> None:
        """What has not begun does not begin; what has, though nobody knew, is known to now."""
        if (last := self._not_begun) is not None:
            assert last.running is not None
            if last.running.withdraw():
                self._sent.pop()
            else:
                self._take(last)

    def _take_results(self) -> None:
        while self._sent:
            first = self._sent[0]
            if not first.taken:
                self._take(first)  # the one before it has ended
            assert first.running is not None
            if first.running.outcome is None:
                return
            self._sent.popleft()
            self._answer(first, first.running)

    def _answer(self, sent: _Sent, running: Running) -> None:
        assert running.outcome is not None
        counts = self._counts(sent.identity)
        counts.run_s += running.took_s
        if sent.turn is not None:
            self._schedule.charge(sent.turn, running.took_s)
        try:
            results = running.outcome.unwrap()
            answered = list(zip(sent.keys, sent.rows, results, strict=True))
        except DeviceOutOfMemory as fault:
            if len(sent.rows) == 1:
                self._fail(sent, counts, fault)
            else:
                # A batch's size is a guess at what fits.
                log.warning("no memory for a batch of %d: trying its halves", len(sent.rows))
                half = len(sent.rows) // 2
                for part in (slice(half, None), slice(half)):
                    self._halves.appendleft(_Sent(sent.identity, sent.adapter, sent.rows[part], sent.keys[part]))
            return
        except Exception as fault:
            self._fail(sent, counts, fault)
            return
        self._schedule.cost(sent.identity).note(sent.padded_tokens, running.took_s)
        counts.batches += 1
        counts.items += len(sent.rows)
        counts.tokens += sum(len(row.tokens) for row in sent.rows)
        counts.padded_tokens += sent.padded_tokens
        in_it = set()
        for key, row, result in answered:
            self._kept.keep(key, len(row.tokens), result)
            for ticket, position in self._settled(key):
                ticket.answer(position, result)
                in_it.add(ticket)
        for ticket in in_it:
            ticket.run_s += running.took_s

    def _fail(self, sent: _Sent, counts: Counts, fault: Exception) -> None:
        log.error("a batch of %d on %s", len(sent.rows), sent.identity, exc_info=fault)
        counts.failed_batches += 1
        for ticket in {ticket for key in sent.keys for ticket, _ in self._settled(key)}:
            ticket.fail(InferenceFailed(f"The model raised on a batch this was in: {_said(fault)}"))
            self._remove_items(ticket)

    def _settled(self, key: Hashable) -> Sequence[tuple[Ticket, int]]:
        """Those who wait for it still."""
        waiting = ((self._tickets.get(one.request), one.position) for one in self._in_flight.settle(key))
        return [(ticket, position) for ticket, position in waiting if ticket is not None]

    def _counts(self, identity: LoadIdentity) -> Counts:
        return self.counts.setdefault(identity, Counts())

    def _wake(self) -> None:
        self._woken.set()


def chunks(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    """The texts in order, as slices that take little time to tokenise."""
    begin = characters = 0
    for position, text in enumerate(texts):
        if position > begin and (position - begin == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS):
            yield texts[begin:position]
            begin, characters = position, 0
        characters += len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
    yield texts[begin:]


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}"[:500]


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("This process is shutting down", retry_after_s=5)
