"""One request on its way through the pipeline: what it brings, what it waits for, what it gets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import trio

from sie.errors import SieError
from sie.worker.adapters.contract import Adapter, Result, Row, RunOptions, Text
from sie.worker.batching import Waiting
from sie.worker.identity import LoadIdentity


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


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """One request that is in the pipeline."""

    number: int  # by arrival
    arrived: float
    deadline: float  # after which nobody waits for it
    identity: LoadIdentity
    adapter: Adapter
    ceiling: int  # of a batch it is in, in padded tokens
    results: list[Result | None]
    left: int
    untokenised: int
    done: trio.Event = field(default_factory=trio.Event)
    fault: SieError | None = None
    rows: dict[int, Row] = field(default_factory=dict)  # tokenised, not on the device yet
    keys: dict[int, Hashable] = field(default_factory=dict)  # of those that wait for a result
    tokens: int = 0
    tokenise_s: float = 0.0
    run_s: float = 0.0

    def waiting(self, position: int) -> Waiting:
        """This item as one that stands in line."""
        return Waiting(max(1, len(self.rows[position].tokens)), self.number, position)

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
