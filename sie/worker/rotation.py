# Rule: pure. Nothing here awaits or reads a clock.
"""Which model's turn it is on the device: those that wait share its time, and who has waited longer gets more of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# A model whose oldest request has waited a second gets twice the device time of one with none that waited; eight times
# is the most, or a model with a long queue would be as good as alone.
_MOST_WEIGHT = 8.0


class Rotation(Generic[Key]):
    """Counts what each has had of the device, in seconds by weight; of those that wait, who has had least is next."""

    def __init__(self) -> None:
        self._had: dict[Key, float] = {}  # of those that wait
        self._left: dict[Key, float] = {}  # of others that had something since the device was last idle

    def join(self, key: Key) -> None:
        """It has something waiting. What it had more than others still counts; what it did not use is lost."""
        if key not in self._had:
            least = min(self._had.values(), default=0.0)
            # In front: of those that have had as little it is the next.
            self._had = {key: max(self._left.pop(key, least), least), **self._had}

    def leave(self, key: Key) -> None:
        """It has nothing waiting any more."""
        if key in self._had:
            self._left[key] = self._had.pop(key)
            if not self._had:
                self._left.clear()

    def next(self) -> Key | None:
        """None if nothing waits."""
        return min(self._had, key=lambda one: self._had[one], default=None)

    def charge(self, key: Key, seconds: float, waited_s: float = 0.0) -> None:
        """It had so many seconds of the device, and its oldest request has waited `waited_s`. Negative: given back."""
        weighted = seconds / min(_MOST_WEIGHT, 1.0 + waited_s)
        if key in self._had:
            self._had[key] = self._had.pop(key) + weighted  # behind those that have had as much
        elif key in self._left:
            self._left[key] += weighted

    def __len__(self) -> int:
        """How many wait."""
        return len(self._had)
