# Rule: pure. Nothing here awaits, reads a clock or knows what an item holds.
"""Which waiting items of a model run together next.

Three wishes pull apart: little padding (similar lengths together), full batches, and nobody waiting for somebody's
ten thousand items. So: a request that has had no turn goes before those that have, but only every other time while
both wait; those that have had one follow each other. Whose turn it is gives the item a batch is built around, and the
batch grows from that item to its neighbours in length, whoever they belong to.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# So much of a batch may be padding. Beside that, as much as costs no more than one more batch would: PADDING_FREE
# tokens where the model has not shown what that is.
PADDING_SHARE = 0.03
PADDING_FREE = 256
# From how many items on sorting all of them anew is quicker than finding a place for each.
_MANY = 32


class Waiting(NamedTuple):
    """An item in line, ordered by length; the rest makes the order total."""

    tokens: int
    request: int
    position: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that may run together, the shortest first, and the request whose turn it is."""

    items: Sequence[Waiting]
    turn: int

    @property
    def padded_tokens(self) -> int:
        return len(self.items) * self.items[-1].tokens


def window(waiting: Sequence[Waiting], anchor: int, budget: int, free: float = PADDING_FREE) -> tuple[int, int]:
    """The slice [low, high) of items sorted by length that runs with the anchor.

    Padded, it is within `budget` tokens unless it is the anchor alone; it takes the neighbour that costs less padding
    first, and stops when padding would be above `free` tokens and above PADDING_SHARE.
    """
    low, high = anchor, anchor + 1
    longest = real = waiting[anchor].tokens
    while True:
        count = high - low + 1
        neighbours = []
        if low > 0:
            shorter = waiting[low - 1].tokens
            neighbours.append((longest - shorter, low - 1, high, longest, shorter))
        if high < len(waiting):
            longer = waiting[high].tokens
            neighbours.append(((count - 1) * (longer - longest), low, high + 1, longer, longer))
        for _, new_low, new_high, new_longest, tokens in sorted(neighbours):
            padded = count * new_longest
            if padded <= budget and padded - real - tokens <= max(free, PADDING_SHARE * padded):
                low, high, longest, real = new_low, new_high, new_longest, real + tokens
                break
        else:
            return low, high


class ItemQueue:
    """The items that wait for one loaded model."""

    def __init__(self) -> None:
        self._by_length: list[Waiting] = []
        # Request -> position -> item. Fresh ones by arrival; of the others, the one served longest ago is first.
        self._fresh: dict[int, dict[int, Waiting]] = {}
        self._served: dict[int, dict[int, Waiting]] = {}
        self._tokens: dict[int, int] = {}  # of each request
        self._fresh_had_turn = False

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, items: Sequence[Waiting]) -> None:
        """Let items in, each once. A request that waits not yet counts as one that has had no turn."""
        for item in items:
            self._line_of(item.request).setdefault(item.request, {})[item.position] = item
            self._tokens[item.request] = self._tokens.get(item.request, 0) + item.tokens
        if len(items) > _MANY:
            self._by_length += items
            self._by_length.sort()  # nearly sorted already: linear
        else:
            for item in items:
                insort(self._by_length, item)

    def remove(self, request: int) -> None:
        """Forget what this request still has waiting, if anything."""
        gone = self._line_of(request).pop(request, {})
        self._tokens.pop(request, None)
        self._drop(gone.values())

    def head(self) -> int | None:
        """The request the next batch is built around."""
        first, second = (self._served, self._fresh) if self._fresh_had_turn else (self._fresh, self._served)
        return next(iter(first or second), None)

    def oldest(self) -> int | None:
        """Of the requests that wait, by number."""
        return min(self._tokens, default=None)

    def ahead(self, most: int) -> int:
        """How many tokens at most run before a request that comes now has had `most` tokens run, its own not counted:
        as many of every other request as it has, or `most`."""
        return sum(min(most, tokens) for tokens in self._tokens.values())

    def choose(self, budget: int, free: float = PADDING_FREE) -> Batch | None:
        """The batch to run next: within `budget` padded tokens, or one item. None only if nothing waits.

        Nothing changes by it.
        """
        turn = self.head()
        if turn is None:
            return None
        anchor = next(iter((self._fresh.get(turn) or self._served[turn]).values()))
        low, high = window(self._by_length, bisect_left(self._by_length, anchor), budget, free)
        return Batch(self._by_length[low:high], turn)

    def take(self, batch: Batch) -> None:
        """Take it out. Since it was chosen items may have come, but none of its own may have gone."""
        self._fresh_had_turn = batch.turn in self._fresh
        self._served[batch.turn] = self._line_of(batch.turn).pop(batch.turn)  # to the end of the line
        for item in batch.items:
            line = self._line_of(item.request)
            items = line[item.request]
            del items[item.position]
            self._tokens[item.request] -= item.tokens
            if not items:
                del line[item.request], self._tokens[item.request]
        self._drop(batch.items)

    def _line_of(self, request: int) -> dict[int, dict[int, Waiting]]:
        """Where it waits; the fresh ones' line if it does not."""
        return self._served if request in self._served else self._fresh

    def _drop(self, items: Collection[Waiting]) -> None:
        if len(items) > _MANY:
            gone = set(items)
            self._by_length = [item for item in self._by_length if item not in gone]
        else:
            for item in items:
                del self._by_length[bisect_left(self._by_length, item)]
