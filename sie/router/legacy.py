"""Taking over a store that SIE v0.1.10 wrote: its documents become judged appends, its files stay as they were."""

from __future__ import annotations

import logging

import trio

from sie.bus.contract import Bus
from sie.catalog.change import read_stored
from sie.errors import RevisionTaken, SieError, StoreUnavailable
from sie.flow import Order, fulfil
from sie.router.head import Head

log = logging.getLogger(__name__)


async def import_legacy(head: Head, bus: Bus, *, patience_s: float) -> None:
    """Append what the old files hold and the log does not, then a marker that says the import is complete.

    Safe to be stopped anywhere and to run in two processes at once: until the marker is there it is done again, and
    what was appended before is found to be there. A document that cannot be read is named, in the log and in the
    marker, and left out. `patience_s`: for each append. Raises StoreUnavailable.
    """
    if head.imported():
        return
    legacy = await head.store.load_legacy()
    if legacy is None:
        return
    skipped: list[str] = []
    for name, content in legacy.documents:
        try:
            order = Order(change=read_stored(content), lenient=True)
            await fulfil(order, head=head, bus=bus, deadline=trio.current_time() + patience_s)
        except StoreUnavailable:
            raise
        except SieError as fault:
            log.error("left %s out of the import: %s", name, fault.message)
            skipped.append(name)
    while not head.imported():
        marker = head.marker(imported_epoch=legacy.epoch, skipped=skipped)
        try:
            await head.append(marker, deadline=trio.current_time() + patience_s)
        except RevisionTaken:
            await head.read_on()
        else:
            head.advance(marker)
    log.info("took over %d models of SIE v0.1.10", len(legacy.documents) - len(skipped))
