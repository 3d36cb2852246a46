"""Watchers over HTTP: cut off again and again, and back each time at the place where they were."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from spec.history import Event, Watched, Watching
from tests.faults.client import Client, contents, in_threads
from tests.faults.cluster import Cluster

WATCH = "/v1/configs/watch"
_SILENT_S = 2.0  # bookmarks come each second


@contextmanager
def watched(cluster: Cluster, client: Client) -> Iterator[None]:
    """One watcher of each router while the block runs; what they are told goes into the client's history."""
    with ExitStack() as stack:
        for number, router in enumerate(cluster.routers):
            watcher = Watcher(f"watcher-{number}", router.address, client.history)
            stack.enter_context(in_threads(watcher.follow, 1))
        yield


class Watcher:
    """One of them, of the router at this address, whichever process is there. `place`: `store:revision`, once known."""

    def __init__(self, name: str, address: str, history: list[Event]) -> None:
        self.place = ""
        self._name = name
        self._address = address
        self._history = history

    def follow(self, over: threading.Event) -> None:
        """Come, and come back, until it is over."""
        while not over.is_set():
            try:
                if not self.place:
                    answer = httpx.get(f"{self._address}/v1/configs/bundles", timeout=_SILENT_S)
                    self.place = answer.headers["X-SIE-Config-Revision"]
                self._stay(over)
            except httpx.HTTPError:
                over.wait(0.1)

    def _stay(self, over: threading.Event) -> None:
        """Until the stream ends, falls silent or is torn."""
        place = {"Last-Event-ID": self.place}
        with httpx.stream("GET", self._address + WATCH, headers=place, timeout=_SILENT_S) as stream:
            store, _, since = self.place.rpartition(":")
            if stream.status_code == 410:
                head = json.loads(stream.read())
                self.place = f"{head['store']}:{head['head']}"
            if stream.status_code not in (200, 410):
                over.wait(0.1)
                return
            self._history.append(
                Watching(
                    at=time.monotonic(),
                    watcher=self._name,
                    to=self._address,
                    store=store,
                    since=int(since),
                    status=stream.status_code,
                )
            )
            if stream.status_code == 200:
                lines: dict[str, str] = {}
                for line in stream.iter_lines():
                    if line:
                        field, _, value = line.partition(": ")
                        lines[field] = value
                    elif "data" in lines:
                        self._hear(lines)
                        lines = {}
                    if over.is_set():
                        return

    def _hear(self, lines: dict[str, str]) -> None:
        said = json.loads(lines["data"])
        self.place = lines["id"]
        self._history.append(
            Watched(
                at=time.monotonic(),
                watcher=self._name,
                store=said["store"],
                revision=said["revision"],
                model=said.get("model_id", ""),
                profiles=contents(said.get("profiles", {})),
            )
        )
