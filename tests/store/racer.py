"""A process that races: `python -m tests.store.racer URL NAME ROUNDS` says which numbers it won.

It says "ready" once the store is open, and begins when its standard input has a line or ends.
"""

from __future__ import annotations

import sys

import trio

from sie.errors import RevisionTaken
from sie.settings import Settings
from sie.store.open import open_store
from tests.store.samples import entry


async def run(url: str, name: str, rounds: int) -> None:
    """Want every number; go on to the next as soon as this one is somebody's."""
    store = await open_store(Settings(store_dir=url, store_timeout_s=30))
    print("ready", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    for revision in range(1, rounds + 1):
        try:
            await store.append(entry(revision, f"{name}-{revision}"))
        except RevisionTaken:
            continue
        print(f"{name}-{revision}", flush=True)
    await store.aclose()


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2], int(sys.argv[3]))
