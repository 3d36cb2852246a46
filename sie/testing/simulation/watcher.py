"""One who watches a router's config, and comes back to where it was."""

from __future__ import annotations

import json

import trio

from sie.catalog.canonical import canonical
from sie.errors import RevisionGone, SieError
from sie.router.watch import Watch
from sie.testing.simulation.world import Life, World
from spec.history import Watched, Watching


class Watcher:
    """`to`: the router, whichever life it is in."""

    def __init__(self, name: str, to: str, world: World) -> None:
        self._name = name
        self._to = to
        self._world = world
        self._place: str | None = None

    async def follow(self, watch: Watch, life: Life) -> None:
        """Until the stream or the router ends."""
        try:
            watcher = watch.watcher(since=None, last_event_id=self._place)
        except SieError as fault:
            if isinstance(fault, RevisionGone):
                self._come(fault.fields["store"], fault.fields["head"], status=410)
                self._place = f"{fault.fields['store']}:{fault.fields['head']}"
            return
        store, since = (watch.store, watch.head) if self._place is None else _read(self._place)
        self._come(store, since)
        async with trio.open_nursery() as watching:
            watching.start_soon(life.take_along, watching.cancel_scope)
            async with watcher:
                async for content in watcher:
                    self._hear(content)
                    await trio.lowlevel.checkpoint()
            watching.cancel_scope.cancel(reason="the stream has ended")

    def _come(self, store: str, since: int, status: int = 200) -> None:
        self._world.seen.append(
            Watching(at=self._world.now, watcher=self._name, to=self._to, store=store, since=since, status=status)
        )

    def _hear(self, content: bytes) -> None:
        for event in content.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in event.split("\n") if ": " in line)
            if "data" not in lines:
                continue
            said = json.loads(lines["data"])
            self._place = lines["id"]
            self._world.seen.append(
                Watched(
                    at=self._world.now,
                    watcher=self._name,
                    store=said["store"],
                    revision=said["revision"],
                    model=said.get("model_id", ""),
                    profiles={name: canonical(one).decode() for name, one in said.get("profiles", {}).items()},
                )
            )


def _read(place: str) -> tuple[str, int]:
    store, _, revision = place.rpartition(":")
    return store, int(revision)
