# Rule: pure. Nothing here awaits, reads a clock or knows what an item holds.
"""Which waiting items run together next.

Three wishes pull apart: little padding (similar lengths together), full batches, and nobody waiting for somebody's
ten thousand items. So: the requests stand in a line; the one at its head gives the item a batch is built around and
goes to the end of the line; the batch grows from that item to its neighbours in length, whoever they belong to. A
request is thus in every n-th batch at least, n being the number of requests that wait, whatever their sizes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Padding is worth it up to here: a tenth of the work that counts, or what costs no more than one more launch would.
PADDING_SHARE = 0.1
PADDING_FREE = 256


class Waiting(NamedTuple):
    """An item in line, ordered by length; the rest makes the order total."""

    tokens: int
    request: int
    position: int


def window(waiting: Sequence[Waiting], anchor: int, budget: int) -> tuple[int, int]:
    """The slice [low, high) of items sorted by length that runs with the anchor.

    Padded, it is within `budget` tokens unless it is the anchor alone; it takes the neighbour that costs less padding
    first, and stops when padding would outweigh what it saves.
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
            if padded <= budget and padded - real - tokens <= max(PADDING_FREE, PADDING_SHARE * (real + tokens)):
                low, high, longest, real = new_low, new_high, new_longest, real + tokens
                break
        else:
            return low, high


class ItemQueue:
    """The items that wait for one loaded model."""

    def __init__(self) -> None:
        self._by_length: list[Waiting] = []
        # Request -> position -> item; the first request is the one served longest ago.
        self._line: dict[int, dict[int, Waiting]] = {}

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, items: Iterable[Waiting]) -> None:
        """Let items in; a request that is not in line yet joins at its end. An item is let in once."""
        for item in items:
            self._line.setdefault(item.request, {})[item.position] = item
            self._by_length.append(item)
        self._by_length.sort()  # nearly sorted already: linear

    def remove(self, request: int) -> None:
        """Forget what this request still has waiting, if anything."""
        if self._line.pop(request, None):
            self._by_length = [item for item in self._by_length if item.request != request]

    def head(self) -> int | None:
        """The request the next batch is built around."""
        return next(iter(self._line), None)

    def take(self, budget: int) -> list[Waiting]:
        """Take the next batch out: within `budget` padded tokens, or one item. Empty only if nothing waits."""
        request = self.head()
        if request is None:
            return []
        anchor = next(iter(self._line[request].values()))
        low, high = window(self._by_length, bisect_left(self._by_length, anchor), budget)
        batch = self._by_length[low:high]
        del self._by_length[low:high]
        self._line[request] = self._line.pop(request)  # to the end of the line
        for item in batch:
            items = self._line[item.request]
            del items[item.position]
            if not items:
                del self._line[item.request]
        return batch
