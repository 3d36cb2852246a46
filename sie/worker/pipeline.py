"""A request's way through the device: tokenised, in line, in a batch, answered."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import trio

from sie.errors import InferenceFailed, QueueFull, ShuttingDown, SieError
from sie.settings import KIB, Settings
from sie.worker.adapters.contract import Adapter, Result, Row, RunOptions, Text
from sie.worker.batching import ItemQueue, Waiting
from sie.worker.device import Device, DeviceOutOfMemory
from sie.worker.identity import LoadIdentity
from sie.worker.loading import Loading
from sie.worker.sharing import InFlight, Kept, Waiter, key_of

log = logging.getLogger("sie.worker.pipeline")

# What is tokenised in one go, about 5 ms: in between, other requests get their turn and the device its first items.
CHUNK_TEXTS = 64
CHUNK_CHARACTERS = 64 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one request runs: texts, and how. Several kinds of text (a query, its documents) are several Works."""

    texts: Sequence[Text]
    outputs: frozenset[str]
    options: RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The results, in the order of the texts, and what they took. Seconds."""

    results: Sequence[Result]
    tokens: int
    tokenise_s: float
    run_s: float


@dataclass(slots=True, eq=False)
class Counts:
    """What one model has done so far."""

    batches: int = 0
    items: int = 0  # that ran; the same one for several requests counts once
    shared: int = 0  # that did not have to: the same was on its way, or kept
    tokens: int = 0
    padded_tokens: int = 0
    failed_batches: int = 0
    run_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Ticket:
    """One request that is in the pipeline."""

    number: int  # by arrival
    identity: LoadIdentity
    adapter: Adapter
    budget: int
    results: list[Result | None]
    left: int
    done: trio.Event = field(default_factory=trio.Event)
    fault: SieError | None = None
    rows: dict[int, Row] = field(default_factory=dict)  # tokenised, not on the device yet
    keys: dict[int, Hashable] = field(default_factory=dict)  # of those that wait for a result
    tokens: int = 0
    tokenise_s: float = 0.0
    run_s: float = 0.0

    def answer(self, position: int, result: Result) -> None:
        self.results[position] = result
        self.rows.pop(position, None)
        self.keys.pop(position, None)
        self.left -= 1
        if not self.left:
            self.done.set()

    def fail(self, fault: SieError) -> None:
        self.fault = self.fault or fault
        self.done.set()


class Pipeline:
    """The queues, one for each loaded model, and the one loop that keeps the device busy."""

    def __init__(self, settings: Settings, device: Device, loading: Loading) -> None:
        self._settings = settings
        self._device = device
        self._loading = loading
        self._numbers = itertools.count()
        self._tickets: dict[int, _Ticket] = {}
        self._pending: dict[LoadIdentity, int] = {}  # items admitted and not answered
        # In the order they are served: the model whose last batch is longest ago comes first.
        self._queues: dict[LoadIdentity, ItemQueue] = {}
        self._in_flight = InFlight()
        self._kept = Kept(settings.embedding_cache_bytes)
        self._arrived = trio.Event()
        self._open = False
        self.counts: dict[LoadIdentity, Counts] = {}

    def pending(self, identity: LoadIdentity) -> int:
        """Items of this model that are admitted and not answered yet."""
        return self._pending.get(identity, 0)

    async def submit(
        self, identity: LoadIdentity, adapter: Adapter, works: Sequence[Work], max_batch_tokens: int
    ) -> Done:
        """Run all of it, and wait. The caller sees to it that the model stays loaded meanwhile.

        Raises QueueFull at once, InferenceFailed if the adapter raised on a batch this was in, ShuttingDown.
        Cancelled: what is not on the device yet never gets there.
        """
        count = sum(len(work.texts) for work in works)
        ticket = self._admit(identity, adapter, count, max_batch_tokens)
        try:
            await self._tokenise(ticket, works)
            await ticket.done.wait()
        finally:
            self._leave(ticket, count)
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
                if batch := self._next_batch():
                    await self._run_batch(batch)
                else:
                    self._arrived = trio.Event()
                    await self._arrived.wait()
        finally:
            self._open = False
            for ticket in self._tickets.values():
                ticket.fail(_shutting_down())

    # -- a request's side

    def _admit(self, identity: LoadIdentity, adapter: Adapter, count: int, max_batch_tokens: int) -> _Ticket:
        if not self._open:
            raise _shutting_down()
        pending = self.pending(identity)
        # A request larger than the bound may have an empty queue to itself, or it could never run at all.
        if pending and pending + count > self._settings.queue_items:
            raise QueueFull(
                f"{pending} items wait for {identity}, {count} more would be above {self._settings.queue_items}",
                retry_after_s=self._retry_after_s(identity, pending),
            )
        self._pending[identity] = pending + count
        budget = min(max_batch_tokens, adapter.batch_tokens or max_batch_tokens)
        ticket = _Ticket(next(self._numbers), identity, adapter, budget, results=[None] * count, left=count)
        self._tickets[ticket.number] = ticket
        return ticket

    async def _tokenise(self, ticket: _Ticket, works: Sequence[Work]) -> None:
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

    def _let_in(self, ticket: _Ticket, position: int, rows: Sequence[Row]) -> None:
        """Rows of the request, from this position on: into the queue, but for those that somebody else has run."""
        items = []
        for at, row in enumerate(rows, position):
            ticket.tokens += len(row.tokens)
            key = key_of(ticket.identity, row)
            if (kept := self._kept.get(key)) is not None:
                ticket.answer(at, kept)
            else:
                ticket.rows[at], ticket.keys[at] = row, key
                if self._in_flight.join(key, Waiter(ticket.number, at)):
                    items.append(_waiting(ticket, at))
                    continue
            self.counts.setdefault(ticket.identity, Counts()).shared += 1
        if items:
            self._queues.setdefault(ticket.identity, ItemQueue()).add(items)
            self._arrived.set()

    def _leave(self, ticket: _Ticket, count: int) -> None:
        del self._tickets[ticket.number]
        self._remove_items(ticket)
        self._pending[ticket.identity] -= count
        if not self._pending[ticket.identity]:
            del self._pending[ticket.identity]

    def _remove_items(self, ticket: _Ticket) -> None:
        """Whoever waits for the same as it leads now: what it led and is not on the device goes back into the queue."""
        if (queue := self._queues.get(ticket.identity)) is not None:
            queue.remove(ticket.number)
        heirs = []
        for position, key in ticket.keys.items():
            heir = self._in_flight.leave(key, Waiter(ticket.number, position))
            if heir is not None and heir.request != ticket.number:
                heirs.append(heir)
        ticket.rows.clear()
        ticket.keys.clear()
        if heirs:
            items = [_waiting(self._tickets[one.request], one.position) for one in heirs]
            self._queues.setdefault(ticket.identity, ItemQueue()).add(items)
            self._arrived.set()

    def _retry_after_s(self, identity: LoadIdentity, pending: int) -> int:
        counts = self.counts.get(identity)
        wait_s = pending * counts.run_s / counts.items if counts and counts.items else 1.0
        return max(1, math.ceil(min(wait_s, self._settings.retry_after_most_s)))

    # -- the device's side

    def _next_batch(self) -> Sequence[tuple[_Ticket, int]]:
        for identity, queue in list(self._queues.items()):
            del self._queues[identity]
            number = queue.head()
            if number is None:
                continue  # an empty queue is forgotten
            items = queue.take(self._tickets[number].budget)
            self._queues[identity] = queue  # to the end of the line
            return [(self._tickets[item.request], item.position) for item in items]
        return []

    async def _run_batch(self, batch: Sequence[tuple[_Ticket, int]]) -> None:
        identity, adapter = batch[0][0].identity, batch[0][0].adapter
        self._loading.touch(identity)
        rows = [ticket.rows.pop(position) for ticket, position in batch]
        keys = [ticket.keys[position] for ticket, position in batch]
        for key in keys:
            self._in_flight.run(key)
        began = trio.current_time()
        counts = self.counts.setdefault(identity, Counts())
        try:
            results = await self._run_rows(adapter, rows)
            answered = list(zip(keys, rows, results, strict=True))
        except Exception as fault:
            log.exception("a batch of %d on %s", len(rows), identity)
            counts.failed_batches += 1
            for ticket in {ticket for key in keys for ticket, _ in self._settled(key)}:
                ticket.fail(InferenceFailed(f"The model raised on a batch this was in: {_said(fault)}"))
                self._remove_items(ticket)
            return
        took = trio.current_time() - began
        lengths = [len(row.tokens) for row in rows]
        counts.batches += 1
        counts.items += len(rows)
        counts.tokens += sum(lengths)
        counts.padded_tokens += max(lengths) * len(rows)
        counts.run_s += took
        in_it = set()
        for key, row, result in answered:
            self._kept.keep(key, len(row.tokens), result)
            for ticket, position in self._settled(key):
                ticket.answer(position, result)
                in_it.add(ticket)
        for ticket in in_it:
            ticket.run_s += took

    def _settled(self, key: Hashable) -> Sequence[tuple[_Ticket, int]]:
        """Those who wait for it still."""
        waiting = ((self._tickets.get(one.request), one.position) for one in self._in_flight.settle(key))
        return [(ticket, position) for ticket, position in waiting if ticket is not None]

    async def _run_rows(self, adapter: Adapter, rows: Sequence[Row]) -> Sequence[Result]:
        """On a device out of memory, each half once more: a batch's size is a guess at what fits."""
        try:
            return await self._device.run(adapter, rows)
        except DeviceOutOfMemory:
            if len(rows) == 1:
                raise
            log.warning("no memory for a batch of %d: trying its halves", len(rows))
        half = len(rows) // 2
        return [*await self._device.run(adapter, rows[:half]), *await self._device.run(adapter, rows[half:])]


def _waiting(ticket: _Ticket, position: int) -> Waiting:
    return Waiting(max(1, len(ticket.rows[position].tokens)), ticket.number, position)


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
