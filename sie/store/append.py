"""Appending until it is certain: what stands between a store that may fall silent and a writer that must know."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import trio

from sie.catalog.entry import Entry
from sie.errors import OutcomeUnknown, RevisionTaken, StoreUnavailable
from sie.store.contract import Store

log = logging.getLogger(__name__)


async def append_surely(store: Store, entry: Entry, *, deadline: float) -> None:
    """Put the entry at its number, or know that it is not there and never will be.

    After silence the same bytes are put at the same number again, until the number is taken: then its occupant says
    who won. An attempt that lands late finds the number taken as well, so the verdict is final.

    Raises RevisionTaken: somebody else's entry has the number. StoreUnavailable: the store refused before anything was
    sent, said at once and not tried again, for whoever asked can do that safely and the orders behind need not wait.
    OutcomeUnknown: something was sent and `deadline` (Trio's clock) passed without certainty; nothing else yields it.
    Cancelled: may have happened, or may happen yet.
    """
    if trio.current_time() >= deadline:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("no time was left to store the change; nothing was sent")
    silence: StoreUnavailable | None = None
    pauses_s = _pauses()
    with trio.move_on_at(deadline):
        while True:
            try:
                return await _attempt(store, entry, alone=silence is None)
            except StoreUnavailable as fault:
                if silence is None and not isinstance(fault, OutcomeUnknown):
                    raise
                silence = fault
            log.warning("entry %d of %s may be stored or not, asking again: %s", entry.revision, store.place, silence)
            await trio.sleep(next(pauses_s))
    raise OutcomeUnknown(
        f"the config store fell silent while entry {entry.revision} was on its way; a retry of the same change is safe"
    ) from silence


async def _attempt(store: Store, entry: Entry, *, alone: bool) -> None:
    """One put. `alone`: no earlier one of this process can be what occupies the number.

    The occupant is read even then: a gateway on the way may have repeated the put, and told of its second.
    """
    try:
        await store.append(entry)
        return
    except RevisionTaken as taken:
        try:
            tail = await store.entries_since(entry.revision - 1)
        except StoreUnavailable:
            if alone:
                raise taken from None
            raise
    if not tail:
        raise StoreUnavailable(f"entry {entry.revision} is there, and cannot be read")
    if tail[0].write_id != entry.write_id:
        raise RevisionTaken(f"{entry.revision} went to {tail[0].router_id}")


def _pauses() -> Iterator[float]:
    """Seconds: short at first, for a hiccup; jittered, so that routers that failed together do not return together."""
    most_s = 0.05
    while True:
        yield random.uniform(most_s / 2, most_s)
        most_s = min(2 * most_s, 1.0)
