"""Messages that are not ours: counted by reason, and their senders named once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from sie.catalog.faults import shown
from sie.wire.sealed import NotOurs

log = logging.getLogger(__name__)

# A crowd of invented senders must not fill the log.
_NAMED = 100


class Ignored:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._named: set[str] = set()

    @property
    def counts(self) -> Mapping[str, int]:
        """By reason, sorted."""
        return dict(sorted(self._counts.items()))

    def note(self, fault: NotOurs) -> None:
        self._counts[fault.kind] += 1
        sender = shown(fault.sender) or "unknown"
        if sender not in self._named and len(self._named) < _NAMED:
            self._named.add(sender)
            log.warning("ignored what %s said on the bus, and will again: %s", sender, fault)
            if len(self._named) == _NAMED:
                log.warning("further senders of such messages are counted and not named")
