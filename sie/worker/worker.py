"""A worker: one bundle, its catalog kept current, its models computed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from sie.bus.contract import Bus
from sie.catalog.catalog import Catalog
from sie.catalog.model import Model
from sie.errors import ModelLoading
from sie.flow import keep_bundle_current
from sie.wire.status import WorkerStatus
from sie.worker.compute import Compute
from sie.worker.follow import BundleCatalog, CatchUp


class Worker:
    """Serves the models of one bundle, as far as it has heard of them. Several in one process share a Compute."""

    def __init__(self, bundle: str, *, name: str, fresh: Callable[[], Catalog], compute: Compute, machine: str) -> None:
        self.name = name
        self.bundle = bundle
        self.compute = compute
        self.known = BundleCatalog(bundle, fresh)
        self._machine = machine
        self._alive = False
        self._patient = True
        self._scope = trio.CancelScope()

    def begin(self) -> trio.CancelScope:
        """The scope of one life of this worker, from a start to a crash or a `restart`."""
        self._scope = trio.CancelScope()
        return self._scope

    def restart(self, reason: str) -> None:
        """End this life; whoever supervises begins another, which catches up from where the catalog stands."""
        self._scope.cancel(reason=reason)

    async def run(
        self, *, bus: Bus, catch_up: CatchUp, report: Callable[[WorkerStatus], None], on_ready: Callable[[], None]
    ) -> None:
        """Follow the bundle until cancelled, reporting every step. Ready means: caught up once, or tired of waiting."""

        def tell() -> None:
            self._alive = True
            status = self.status()
            report(status)
            if status.ready:
                on_ready()

        try:
            with bus.follow(self.bundle) as hints:
                await keep_bundle_current(hints, bundle=self.known, catch_up=catch_up, report=tell)
        finally:
            self._alive = False

    def serve_what_is_known(self) -> None:
        """Wait no longer: be ready with what there is. The gates of routers keep from here what it does not know."""
        self._patient = False

    def status(self) -> WorkerStatus:
        """How this worker stands right now."""
        return WorkerStatus(
            name=self.name,
            bundle=self.bundle,
            ready=self._alive and (self.known.caught_up or not self._patient),
            store=self.known.store,
            revision=self.known.complete_to,
            others={store: one for store, one in self.known.known.items() if store != self.known.store},
            digest=self.known.catalog.digest(self.bundle),
            nacks=tuple(self.known.nacks.values()),
            machine_profile=self._machine,
        )

    def model(self, model_id: str) -> Model:
        """Raises ModelLoading for one that has not arrived here: whoever asks knows that it exists."""
        model = self.known.catalog.find(model_id)
        if model is None:
            raise ModelLoading(f"{model_id} has not reached bundle {self.bundle} yet", retry_after_s=1)
        return model
