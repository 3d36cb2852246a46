"""Which entries of one bundle are known, what is missing in between, and what waits until that is there."""

from __future__ import annotations

from collections.abc import Sequence

from sie.catalog.entry import Entry

# What is kept past a gap. More is not lost, for it is in the store, and the gap says that it must be read.
_KEPT_MOST = 1024

# Readings of the truth after which a word of something later is not believed any more: it may be forged.
_BELIEVED = 3


class Coverage:
    """One store's entries, as a bundle hears of them. `complete_to`: every entry of the bundle up to there is known.

    Each entry tells the revision that touched its bundle before it, so a gap shows without numbers being dense.
    """

    def __init__(self, complete_to: int = 0) -> None:
        self.complete_to = complete_to
        self._later: dict[int, tuple[Entry, int]] = {}  # revision -> entry past a gap, and its forerunner
        self._told = 0  # that there is an entry of this number, which was not heard
        self._doubts = 0  # readings that found nothing of what is later

    @property
    def gap(self) -> bool:
        """True while something was heard of whose forerunner was not."""
        return bool(self._later) or self._told > self.complete_to

    def heard(self, entry: Entry, previous: int) -> Sequence[Entry]:
        """Count an entry; returns what is complete by it, in order. Doubled, late and reordered ones are harmless."""
        if entry.revision <= self.complete_to:
            return ()
        if previous > self.complete_to and len(self._later) >= _KEPT_MOST:
            self._told = max(self._told, entry.revision)
            return ()
        self._later[entry.revision] = entry, previous
        return self._close()

    def told(self, revision: int) -> None:
        """There is an entry of this number."""
        self._told = max(self._told, revision)

    def read_to(self, revision: int) -> Sequence[Entry]:
        """Everything up to `revision` has been read from the truth; returns what is complete by that, in order."""
        self._doubts = self._doubts + 1 if revision <= self.complete_to else 0
        self.complete_to = max(self.complete_to, revision)
        for one in [one for one in self._later if one <= self.complete_to]:
            del self._later[one]  # read
        complete = self._close()
        if not self.gap or self._doubts >= _BELIEVED:
            self._later.clear()
            self._told = self._doubts = 0
        return complete

    def _close(self) -> Sequence[Entry]:
        complete: list[Entry] = []
        for revision in sorted(self._later):
            entry, previous = self._later[revision]
            if previous <= self.complete_to:
                self.complete_to = revision
                complete.append(entry)
        for one in [one for one in self._later if one <= self.complete_to]:
            del self._later[one]
        return complete
