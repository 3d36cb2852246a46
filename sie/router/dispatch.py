"""The gate, for workers in this process: a profile's traffic goes only to those that know the entry which made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sie.catalog.catalog import Catalog
from sie.catalog.model import Model
from sie.catalog.spec import Route, Spec, route
from sie.errors import ModelLoading
from sie.router.fleet import Fleet
from sie.router.head import Head
from sie.worker.worker import Worker


class LocalWorkers:
    """What names lead to by the head's catalog, and which of these workers, by bundle, serves it. For Dispatch."""

    def __init__(self, head: Head, fleet: Fleet, workers: Mapping[str, Worker]) -> None:
        self._head = head
        self._fleet = fleet
        self._workers = workers

    @property
    def catalog(self) -> Catalog:
        return self._head.catalog

    def known_to(self, store: str) -> int:
        head = self._head
        return head.revision if store in ("", head.store_id) else head.foreign.known.get(store, 0)

    def models(self) -> Sequence[Model]:
        return self._head.catalog.models()

    def find(self, spec: Spec) -> Route:
        with self._head.looking_up():
            return route(self._head.catalog, spec)

    def worker_for(self, found: Route) -> Worker:
        store, created = found.created(self._head.store_id)
        ready = self._fleet.serving(found.bundle, store=store, revision=created)
        here = [self._workers[one.name] for one in ready if one.name in self._workers]
        if not here:
            raise ModelLoading(
                f"no worker of bundle {found.bundle} has {found.model.sie_id}:{found.profile or 'default'} yet",
                retry_after_s=1,
            )
        return here[0]
