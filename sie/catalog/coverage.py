"""Which revisions of one bundle are known, and whether something is missing in between."""

from __future__ import annotations


class Coverage:
    """`complete_to` is the highest revision R such that every entry of the bundle up to R is known.

    Each entry tells the revision that touched its bundle before it, so a gap shows without numbers being dense.
    """

    def __init__(self, complete_to: int = 0) -> None:
        self.complete_to = complete_to
        self._beyond: dict[int, int] = {}  # previous revision -> revision, of what was heard past a gap

    @property
    def gap(self) -> bool:
        """True while something was heard of whose forerunner was not."""
        return bool(self._beyond)

    def heard(self, revision: int, previous: int) -> None:
        """Count an entry. Doubled, late and reordered ones are harmless."""
        if revision <= self.complete_to:
            return
        self._beyond[previous] = max(revision, self._beyond.get(previous, 0))
        self._close()

    def read_to(self, revision: int) -> None:
        """Everything up to `revision` has been read from the truth."""
        self.complete_to = max(self.complete_to, revision)
        self._close()

    def _close(self) -> None:
        while reached := [previous for previous in self._beyond if previous <= self.complete_to]:
            for previous in reached:
                self.complete_to = max(self.complete_to, self._beyond.pop(previous))
