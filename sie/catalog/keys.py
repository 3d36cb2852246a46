"""Idempotency keys: which answer a key stands for. Those of entries live as long as the log; those of 200s, minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sie.catalog.entry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was answered, as far as it does not change with time. `body_hash`: of the body that came with the key."""

    body_hash: str
    status: int
    created: tuple[str, ...]
    skipped: tuple[str, ...]
    revision: int
    model_id: str

    @staticmethod
    def of(entry: Entry) -> Remembered:
        """The answer to the request that made the entry."""
        return Remembered(
            body_hash=entry.body_hash or "",
            status=201 if entry.profiles else 200,
            created=tuple(entry.profiles),
            skipped=entry.skipped,
            revision=entry.revision,
            model_id=entry.model_id,
        )


class Keys:
    """The keys of the newest entries, at most `kept` of them: a fold of entries, taken in order."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._known: OrderedDict[str, Remembered] = OrderedDict()

    def remember(self, entry: Entry) -> None:
        """Take in the key of an entry, if it has one. The first use of a key is the one that counts."""
        if entry.idempotency_key is not None:
            self._known.setdefault(entry.idempotency_key, Remembered.of(entry))
            self._forget_oldest()

    def find(self, key: str) -> Remembered | None:
        return self._known.get(key)

    def items(self) -> Sequence[tuple[str, Remembered]]:
        """All of them, oldest first, for a snapshot: the values are frozen, the list is the caller's."""
        return list(self._known.items())

    def restore(self, items: Iterable[tuple[str, Remembered]]) -> None:
        """Take in what `items` gave, in place of the entries it came from."""
        self._known.update(items)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._known) > self._kept:
            self._known.popitem(last=False)


class UnchangedKeys:
    """The keys of answers that made no entry: for some seconds, in this process, at most `kept` of them."""

    def __init__(self, seconds: float, kept: int = 100_000) -> None:
        self._seconds = seconds
        self._kept = kept
        self._known: OrderedDict[str, tuple[float, Remembered]] = OrderedDict()

    def remember(self, key: str, answer: Remembered, *, now: float) -> None:
        """`now`: seconds on any clock that never goes back, the same one every time."""
        self._forget(now)
        self._known.setdefault(key, (now + self._seconds, answer))
        if len(self._known) > self._kept:
            self._known.popitem(last=False)

    def find(self, key: str, *, now: float) -> Remembered | None:
        self._forget(now)
        known = self._known.get(key)
        return known[1] if known is not None else None

    def _forget(self, now: float) -> None:
        while self._known and next(iter(self._known.values()))[0] <= now:
            self._known.popitem(last=False)
