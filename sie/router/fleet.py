"""The workers this router hears from: who is there, what each knows, and waiting for them to know more."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from sie.wire.status import Nack, WorkerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a worker must know to count as having taken a change on.

    `bundles`: the eligible ones, by priority. `revisions`: of each store that has a part in it, up to where; 0 for
    what a file brought.
    """

    revisions: Mapping[str, int]
    model: str
    profiles: Sequence[str]
    bundles: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acks:
    """How the eligible workers stand to one change, at one moment.

    `acked_bundles`: eligible bundles with at least one ack. `nacks`: by worker key.
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


# Of each bundle: a worker that is further behind than this many changes is behind in any case.
_HASHES_KEPT = 64


class Fleet:
    """Keeps the newest status of every worker. One owner tells it; anybody may ask and wait."""

    def __init__(self, gate_s: float = 3.0) -> None:
        """`gate_s`: after so long a worker of SIE v0.1.10 gets a profile's traffic whatever its hash says."""
        self._gate_s = gate_s
        self._workers: dict[str, WorkerStatus] = {}
        self._changed = trio.Event()
        # bundle -> bundle_config_hash -> the newest revision it is of; oldest first
        self._hashes: dict[str, OrderedDict[str, int]] = {}
        # bundle -> revisions, and when each was noted; oldest first
        self._noted: dict[str, deque[tuple[int, float]]] = {}
        self._hashed_store = ""

    def heard(self, status: WorkerStatus) -> None:
        """A worker said how it stands."""
        self._workers[status.key] = status
        self._wake()

    def left(self, key: str) -> None:
        """A worker is gone; `key` as its statuses have it. Unknown ones are fine."""
        if self._workers.pop(key, None) is not None:
            self._wake()

    def note_hash(self, bundle: str, config_hash: str, *, store: str, revision: int) -> None:
        """What a bundle hashes to as of a revision: a worker of SIE v0.1.10 that shows this hash knows as much."""
        if store != self._hashed_store:
            self._hashed_store = store
            self._hashes.clear()
            self._noted.clear()
        known = self._hashes.setdefault(bundle, OrderedDict())
        known[config_hash] = revision  # not all that changes is hashed
        known.move_to_end(config_hash)
        while len(known) > _HASHES_KEPT:
            known.popitem(last=False)
        self._noted.setdefault(bundle, deque(maxlen=_HASHES_KEPT)).append((revision, trio.current_time()))
        self._wake()

    def shows_newest_hash(self, worker: WorkerStatus) -> bool:
        """Whether a worker of SIE v0.1.10 shows what its bundle hashes to now, as far as that has been noted."""
        known = self._hashes.get(worker.bundle, OrderedDict())
        return next(reversed(known), "") == worker.bundle_config_hash != ""

    async def wait_changed(self) -> None:
        """Return when any worker has said something, come or gone."""
        await self._changed.wait()

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
        return tuple(
            one
            for one in self._workers.values()
            if one.ready
            and one.bundle == bundle
            and (self._knows(one, store, revision) or (one.by_hash and self._waited_for(bundle, store, revision)))
        )

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
                    nacks[worker.key] = refused
                elif all(self._knows(worker, store, revision) for store, revision in needed.revisions.items()):
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

    def _knows(self, worker: WorkerStatus, store: str, revision: int) -> bool:
        if revision == 0:
            return True  # what a file brought is known to every worker of the bundle, whatever store it follows
        if worker.by_hash:
            known = self._hashes.get(worker.bundle, OrderedDict()).get(worker.bundle_config_hash)
            return known is not None and (store != self._hashed_store or known >= revision)
        return (worker.revision if worker.store == store else worker.others.get(store, -1)) >= revision

    def _waited_for(self, bundle: str, store: str, revision: int) -> bool:
        """Whether workers of SIE v0.1.10 have had time enough for it: their hashes need not ever fit ours."""
        known = self._noted.get(bundle, ())
        noted = (when for one, when in known if store != self._hashed_store or one >= revision)
        return trio.current_time() - next(noted, math.inf) >= self._gate_s
