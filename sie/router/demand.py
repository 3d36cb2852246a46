# Rule: pure; whoever asks says what time it is.
"""Machines that were asked for and are not there: what an autoscaler looks at."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

_LASTS_S = 120.0  # as long as SIE v0.1.10 remembers: its clients ask again every few seconds
_KEPT = 1000  # clients choose the names, where no setting says which there are


class Demand:
    """Remembers each machine profile and bundle that a request had to wait for, by when that was last."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], float] = OrderedDict()  # oldest first

    def note(self, machine: str, bundle: str, now: float) -> None:
        self._last[machine, bundle] = now
        self._last.move_to_end((machine, bundle))
        while len(self._last) > _KEPT:
            self._last.popitem(last=False)

    def pending(self, now: float, met: Callable[[str, str], bool]) -> Sequence[tuple[str, str]]:
        """Those still waited for: asked for lately, and not met by then."""
        for key, when in list(self._last.items()):
            if now - when >= _LASTS_S or met(*key):
                del self._last[key]
        return list(self._last)
