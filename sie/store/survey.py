# Rule: pure; whoever read the names says where they lay.
"""What the names in a store say of it, before anything is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sie.errors import StoreCorrupt
from sie.store.layout import LOG, number_in, numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """`missing`: runs of absent entries below the head or a snapshot, first and last. `foreign`: names in the log that
    are no entry's. `snapshots`: newest first."""

    entries: tuple[int, ...]
    missing: tuple[tuple[int, int], ...]
    foreign: tuple[str, ...]
    snapshots: tuple[int, ...]

    @staticmethod
    def of(*, snapshots: Iterable[str], before: Iterable[str], names: Sequence[str]) -> Survey:
        """Of the names of snapshots, then of two listings of the log, `before` and `names`, read in this order.

        A listing made while names are added may show a later one and miss an earlier one. What stands below the highest
        name of one listing was all there when the next listing began.
        """
        saved = sorted((number for one in snapshots if (number := number_in(one)) is not None), reverse=True)
        top = max((*(number_in(one) or 0 for one in before), *saved[:1]), default=0)
        entries = sorted(number for one in names if (number := number_in(one) or 0) in range(1, top + 1))
        present = [0, *entries, top + 1]
        return Survey(
            entries=tuple(entries),
            missing=tuple((before + 1, after - 1) for before, after in pairwise(present) if after > before + 1),
            foreign=tuple(sorted(one for one in names if number_in(one) is None)),
            snapshots=tuple(saved),
        )

    @property
    def head(self) -> int:
        """The highest entry; 0 for none."""
        return self.entries[-1] if self.entries else 0

    def faults(self, place: str) -> Iterator[StoreCorrupt]:
        """One for each run that is missing and each name that is foreign, in the store at this path or URL."""
        for first, last in self.missing:
            name = f"{place}/{LOG}/{numbered(first)}"
            more = f" (and all up to {numbered(last)})" if last > first else ""
            yield StoreCorrupt(f"{name}{more} is missing below later ones: restore it, it is never skipped", name=name)
        for one in self.foreign:
            name = f"{place}/{LOG}/{one}"
            yield StoreCorrupt(f"{name} is no entry's name: move it out of the log", name=name)
