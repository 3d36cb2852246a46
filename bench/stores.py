"""Stores that have been in use for long, made in seconds: a log, and a snapshot of all but its newest entries."""

from __future__ import annotations

from pathlib import Path

import trio

from bench.made import catalog, entry
from sie.catalog.entry import write_entry
from sie.catalog.keys import Keys
from sie.catalog.snapshot import Snapshot, write_snapshot
from sie.settings import Settings
from sie.store.layout import LOG, numbered
from sie.store.local import open_local

TAIL = 100  # entries after the snapshot; a router's own are made every 500


def fill_store(folder: Path, models: int) -> None:
    """A local store of so many models in the folder, which must not be there yet."""
    trio.run(_fill, folder, models)


async def _fill(folder: Path, models: int) -> None:
    store = await open_local(folder, Settings(snapshot_timeout_s=600, store_timeout_s=600))
    known, log = catalog(), folder / LOG
    for number in range(models):
        one = entry(f"bench/stored-{number}", number + 1)
        (log / numbered(one.revision)).write_bytes(write_entry(one))  # not flushed: no power cut is waited for
        known.advance(one)
        if number == max(0, models - TAIL - 1):
            content = write_snapshot(Snapshot.of(known, Keys(Settings().keys_kept)))
            await store.save_snapshot(known.head, content)
    await store.aclose()
