"""The workers this router hears from: who is there, what each knows, and waiting for them to know more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from sie.wire.status import Nack, WorkerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a worker must know to count as having taken a change on.

    `bundles`: the eligible ones, by priority. `revision`: of the entry; 0 for what a file brought.
    """

    store: str
    revision: int
    model: str
    profiles: Sequence[str]
    bundles: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acks:
    """How the eligible workers stand to one change, at one moment.

    `acked_bundles`: eligible bundles with at least one ack. `nacks`: by worker name.
    """

    bundles: Sequence[str]
    bundles_with_workers: Sequence[str]
    acked_bundles: Sequence[str]
    total: int
    acked: int
    nacks: Mapping[str, Sequence[Nack]]

    @property
    def pending(self) -> bool:
        """The documented `worker_ack_pending`: some eligible bundle has no worker that confirmed, or no bundle is."""
        return not self.bundles or len(self.acked_bundles) < len(self.bundles)

    @property
    def complete(self) -> bool:
        """Every eligible worker has acked or nacked. True when there are none."""
        return self.acked + len(self.nacks) == self.total

    @property
    def served(self) -> bool:
        """Every eligible bundle that has workers has one ack."""
        return len(self.acked_bundles) == len(self.bundles_with_workers)


class Fleet:
    """Keeps the newest status of every worker. One owner tells it; anybody may ask and wait."""

    def __init__(self) -> None:
        self._workers: dict[str, WorkerStatus] = {}
        self._changed = trio.Event()

    def heard(self, status: WorkerStatus) -> None:
        """A worker said how it stands."""
        self._workers[status.key] = status
        self._wake()

    def left(self, key: str) -> None:
        """A worker is gone; `key` as its statuses have it. Unknown ones are fine."""
        if self._workers.pop(key, None) is not None:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @property
    def workers(self) -> Sequence[WorkerStatus]:
        return tuple(self._workers.values())

    def in_bundle(self, bundle: str) -> Sequence[WorkerStatus]:
        """The healthy workers of a bundle."""
        return tuple(one for one in self._workers.values() if one.ready and one.bundle == bundle)

    def serving(self, bundle: str, *, store: str, revision: int) -> Sequence[WorkerStatus]:
        """The gate: healthy workers of the bundle that know everything up to `revision` of this store."""
        return tuple(one for one in self.in_bundle(bundle) if _knows(one, store, revision))

    def acks(self, needed: Needed) -> Acks:
        """How the eligible workers stand now."""
        by_bundle = {bundle: self.in_bundle(bundle) for bundle in needed.bundles}
        profiles = set(needed.profiles)
        nacks: dict[str, Sequence[Nack]] = {}
        acked: dict[str, int] = dict.fromkeys(needed.bundles, 0)
        for bundle, workers in by_bundle.items():
            for worker in workers:
                refused = tuple(one for one in worker.nacks if one.model == needed.model and one.profile in profiles)
                if refused:
                    nacks[worker.name] = refused
                elif _knows(worker, needed.store, needed.revision):
                    acked[bundle] += 1
        return Acks(
            bundles=needed.bundles,
            bundles_with_workers=tuple(bundle for bundle, workers in by_bundle.items() if workers),
            acked_bundles=tuple(bundle for bundle, count in acked.items() if count),
            total=sum(map(len, by_bundle.values())),
            acked=sum(acked.values()),
            nacks=nacks,
        )

    async def wait_acked(self, needed: Needed, *, linger_s: float) -> None:
        """Return when all eligible workers have answered, or `linger_s` after each bundle that has workers has one ack.

        Waits on events only. The caller bounds it; cancelled, it changes nothing.
        """
        give_up_at = math.inf
        while not (acks := self.acks(needed)).complete:
            if acks.served and give_up_at == math.inf:
                give_up_at = trio.current_time() + linger_s
            changed = self._changed
            with trio.move_on_at(give_up_at) as lingering:
                await changed.wait()
            if lingering.cancelled_caught:
                return


def _knows(worker: WorkerStatus, store: str, revision: int) -> bool:
    # What a file brought (0) is known to every worker of the bundle: no store is needed for it.
    return revision == 0 or (worker.store == store and worker.revision >= revision)
