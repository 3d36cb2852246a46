# Rule: pure, and no numpy at import: a process that never runs a model has none.
"""What is the same is computed once: for all who wait for it now, and, where a bound is set, for who comes later."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from sie.worker.adapters.contract import Result, Row

if TYPE_CHECKING:
    from sie.wire.inference import Array

# What a kept result takes beside its arrays and its key: objects, and its place in the order.
_ENTRY_BYTES = 1024


class Waiter(NamedTuple):
    """An item of a request."""

    request: int
    position: int


class Key:
    """Equal for rows that give the same result: of one loaded model, the same tokens, run the same way."""

    __slots__ = ("_hash", "_tokens", "_way")

    def __init__(self, identity: Hashable, row: Row) -> None:
        tokens = row.tokens
        self._way = identity, row.outputs, row.options, tokens.prompt
        types = None if tokens.types is None else array("q", tokens.types).tobytes()
        self._tokens = array("q", tokens.ids).tobytes(), types
        self._hash = hash(self._tokens)  # of what is the same but for the way it is run, there is little

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._tokens == other._tokens and self._way == other._way


class InFlight:
    """Who waits for what. Of those who wait for the same, the first leads: its row is the one that runs."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Waiter]] = {}
        self._running: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, key: Hashable, waiter: Waiter) -> bool:
        """Whether it leads: nobody waits for the same, and it does not run."""
        waiting = self._waiting.setdefault(key, [])
        waiting.append(waiter)
        return len(waiting) == 1 and key not in self._running

    def run(self, key: Hashable) -> None:
        """It runs now: nobody need lead any more."""
        self._running.add(key)

    def waits(self, key: Hashable) -> bool:
        """Whether anybody does."""
        return bool(self._waiting.get(key))

    def settle(self, key: Hashable) -> Sequence[Waiter]:
        """All who wait for it: it is there, or will never be."""
        self._running.discard(key)
        return self._waiting.pop(key, ())

    def leave(self, key: Hashable, waiter: Waiter) -> Waiter | None:
        """It waits no more. Who leads in its place, if it led, others wait, and it does not run yet."""
        waiting = self._waiting.get(key, [])
        if waiter not in waiting:
            return None
        led = waiting[0] == waiter and key not in self._running
        waiting.remove(waiter)
        if not waiting and key not in self._running:
            del self._waiting[key]
        return waiting[0] if led and waiting else None


class Kept:
    """Results by what they are of, within a number of bytes: the one that was asked for longest ago goes first."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: 0 keeps nothing."""
        self._most = most_bytes
        self._results: OrderedDict[Hashable, tuple[Result, int]] = OrderedDict()
        self._size = 0

    def get(self, key: Hashable) -> Result | None:
        if not self._most or (found := self._results.get(key)) is None:
            return None
        self._results.move_to_end(key)
        return found[0]

    def keep(self, key: Hashable, tokens: int, result: Result) -> None:
        """`tokens`: how many are in the key. One that alone is above the bound is not kept."""
        if not self._most or key in self._results:
            return
        size = _ENTRY_BYTES + 8 * tokens + sum(one.nbytes for one in _arrays(result))
        if size > self._most:
            return
        self._results[key] = _own(result), size
        self._size += size
        while self._size > self._most:
            _, (_, freed) = self._results.popitem(last=False)
            self._size -= freed


def _arrays(result: Result) -> Iterator[Array]:
    for one in (result.dense, result.multivector, *(result.sparse or ())):
        if one is not None:
            yield one


def _own(result: Result) -> Result:
    """With arrays of its own: a row of a batch's array would keep the whole batch."""
    sparse = result.sparse
    return replace(
        result,
        dense=None if result.dense is None else result.dense.copy(),
        multivector=None if result.multivector is None else result.multivector.copy(),
        sparse=None if sparse is None else (sparse[0].copy(), sparse[1].copy()),
    )
