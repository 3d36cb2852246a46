# Rule: pure. Nothing here awaits or reads a clock.
"""What the device does next, of all that waits for it, and how long it will take: from what batches have cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sie.worker.batching import PADDING_FREE, Batch, ItemQueue, Waiting
from sie.worker.cost import Cost
from sie.worker.identity import LoadIdentity
from sie.worker.rotation import Rotation

# What is estimated may take this many times as long. A request with less time than that is better told at once: it
# would most likely be given up when it has cost device time already.
_MARGIN = 1.2


class Request(Protocol):
    """What is asked of one that waits. Times are of one clock, in seconds."""

    @property
    def arrived(self) -> float: ...

    @property
    def deadline(self) -> float:
        """After which nobody waits for it; infinite if somebody always does."""

    @property
    def ceiling(self) -> int:
        """Of padded tokens in a batch it is in."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A batch that is taken out: what it was taken to cost, for when it is known."""

    identity: LoadIdentity
    seconds: float
    waited_s: float  # the oldest request of its model


class Schedule:
    """The items that wait, of each loaded model."""

    def __init__(self, requests: Mapping[int, Request], *, start_tokens: int, overhead: float) -> None:
        """`requests`: by number, all whose items are here. Of the others see SIE_BATCH_START_TOKENS and
        SIE_BATCH_OVERHEAD_PERCENT, here as a fraction."""
        self._requests = requests
        self._start_tokens = start_tokens
        self._overhead = overhead
        self._queues: dict[LoadIdentity, ItemQueue] = {}  # none is empty
        self._rotation: Rotation[LoadIdentity] = Rotation()
        self._costs: dict[LoadIdentity, Cost] = {}

    def add(self, identity: LoadIdentity, items: Sequence[Waiting]) -> None:
        """Items of one model come in."""
        if (queue := self._queues.get(identity)) is None:
            queue = self._queues[identity] = ItemQueue()
            self._rotation.join(identity)
        queue.add(items)

    def remove(self, identity: LoadIdentity, request: int) -> None:
        """What this request still has waiting goes, if anything."""
        if (queue := self._queues.get(identity)) is not None:
            queue.remove(request)
            self._forget_if_empty(identity, queue)

    def choose(self, begins: float) -> tuple[LoadIdentity, Batch] | None:
        """What to run next, if it begins at that time; None if nothing waits. Nothing changes by it.

        As large as it pays; smaller where one of its requests would be answered too late for that. To a quarter at
        most: whoever needs less than that is too late, and would only hold the others up.
        """
        identity = self._rotation.next()
        if identity is None:
            return None
        queue, cost = self._queues[identity], self.cost(identity)
        turn = queue.head()
        assert turn is not None, "no queue is empty"
        budget, free = self._budget(cost, self._requests[turn].ceiling), cost.batch_in_tokens or PADDING_FREE
        batch = queue.choose(budget, free)
        assert batch is not None
        takes_s = _MARGIN * cost.seconds(batch.padded_tokens)
        left_s = (self._requests[item.request].deadline - begins for item in batch.items)
        tightest_s = min((one for one in left_s if one >= takes_s / 4), default=math.inf)
        if tightest_s < takes_s:
            batch = queue.choose(cost.tokens(tightest_s / _MARGIN), free)
            assert batch is not None
        return identity, batch

    def take(self, identity: LoadIdentity, batch: Batch, now: float) -> Turn:
        """The batch that was chosen runs."""
        queue = self._queues[identity]
        oldest = queue.oldest()
        assert oldest is not None, "no queue is empty"
        turn = Turn(identity, self.cost(identity).seconds(batch.padded_tokens), now - self._requests[oldest].arrived)
        self._rotation.charge(identity, turn.seconds, turn.waited_s)
        queue.take(batch)
        self._forget_if_empty(identity, queue)
        return turn

    def charge(self, turn: Turn, took_s: float) -> None:
        """The batch ran for so long."""
        self._rotation.charge(turn.identity, took_s - turn.seconds, turn.waited_s)

    def cost(self, identity: LoadIdentity) -> Cost:
        """What batches of this model cost, to be asked and told."""
        return self._costs.setdefault(identity, Cost())

    def in_time(
        self, identity: LoadIdentity, *, own: float, coming: float, ceiling: int, running_s: float, left_s: float
    ) -> float | None:
        """None if a request that comes now, of `own` tokens, can be answered within `left_s` seconds; else about how
        many seconds it would take.

        `coming`: tokens of others that are to be here soon; `running_s`: how long what runs still will.
        """
        cost = self.cost(identity)
        budget = self._budget(cost, ceiling)
        batches = max(1, math.ceil(own / budget))
        ahead = coming
        if (queue := self._queues.get(identity)) is not None:
            ahead += queue.ahead(batches * budget)
        ahead_s = cost.seconds(ahead, math.ceil(ahead / budget))
        # Its last batch is as full by then as that of those ahead, or as its own time allows.
        last_s = min(ahead_s, cost.seconds(budget), left_s / 2)
        wait_s = running_s + ahead_s + max(cost.seconds(own, batches), last_s)
        for other, queue in self._queues.items():
            if other != identity:
                waiting = queue.ahead(ceiling)
                wait_s += min(wait_s, self.cost(other).seconds(waiting, math.ceil(waiting / ceiling)))
        return wait_s if left_s < _MARGIN * wait_s else None

    def _budget(self, cost: Cost, ceiling: int) -> int:
        return cost.budget(ceiling, self._start_tokens, self._overhead)

    def _forget_if_empty(self, identity: LoadIdentity, queue: ItemQueue) -> None:
        if not len(queue):
            del self._queues[identity]
            self._rotation.leave(identity)
