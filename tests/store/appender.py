"""A process that appends: `python -m tests.store.appender DIRECTORY COUNT NAME` says each number once it is durable.

It says "ready" and begins when its standard input has a line or ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from sie.errors import RevisionTaken
from tests.store.samples import entry, local


async def run(base: Path, count: int, name: str) -> None:
    """Append so many entries as a router does: read on, try the next number, and again if somebody else has it."""
    store = await local(base)
    head = 0
    for n in range(count):
        while True:
            head += len(await store.entries_since(head))
            one = entry(head + 1, f"{name}-{n}")
            try:
                await store.append(one)
            except RevisionTaken:
                continue
            print(one.revision, one.write_id, flush=True)
            break


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    trio.run(run, Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
