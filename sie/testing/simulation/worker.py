"""A worker of the simulated cluster: the real following, its bus and its store simulated, and no device."""

from __future__ import annotations

from functools import partial
from typing import cast

from sie.bus.contract import Bus
from sie.bus.local import LocalBus
from sie.bus.nats import NatsBus
from sie.catalog.catalog import Catalog
from sie.catalog.change import ChangeLimits
from sie.catalog.model import Model
from sie.catalog.spec import Route, parse_spec, route
from sie.services import open_services
from sie.settings import Settings
from sie.testing.simulation.broker import Broker, Link
from sie.testing.simulation.store import Disk, open_simulated
from sie.testing.simulation.world import Life, World
from sie.wire.status import WorkerStatus
from sie.worker.compute import Compute
from sie.worker.edge import Knowing
from sie.worker.following import keep_following
from sie.worker.legacy import LegacyEar
from sie.worker.standing import Standing
from sie.worker.truth import AskRouters, FilesOnly, ReadStore, Truth
from sie.worker.worker import Worker
from spec.history import Holds, Stands


class SimulatedWorker:
    """One life of a worker. `url`: its address, the same in every life."""

    def __init__(
        self,
        number: int,
        life: Life,
        settings: Settings,
        world: World,
        catalog: Catalog,
        *,
        broker: Broker | None,
        disk: Disk | None,
    ) -> None:
        self.life = life
        self.url = f"http://worker-{number}"
        self.link = Link(broker, life, settings) if broker is not None else None
        self._settings = settings
        self._world = world
        self._catalog = catalog
        self._worker = Worker(
            settings.bundle, name=life.name, fresh=catalog.files_only, compute=cast("Compute", None), machine=""
        )
        self.known = self._worker.known
        self.bundle = self._worker.bundle
        self.standing = Standing(self._worker)
        self._disk = disk
        self._held: dict[tuple[str, str], str] = {}
        self._seen: dict[str, Model] = {}
        self._said: object = None

    async def live(self) -> None:
        """Until it ends."""
        with self.life.scope:
            nats = NatsBus(self._settings, name=self.life.name, broker=self.link) if self.link is not None else None
            bus: Bus = nats if nats is not None else LocalBus()
            truth = self._truth(nats)
            legacy = LegacyEar(self.known, ChangeLimits.of(self._settings), self.standing.wake)
            async with open_services("the worker has stopped") as services:
                if nats is not None:
                    await services.start(nats.run)
                    services.start_soon(legacy.listen, nats)
                following = partial(
                    keep_following,
                    self._worker,
                    bus=bus,
                    truth=truth,
                    standing=self.standing,
                    settings=self._settings,
                )
                services.start_soon(following)
                seen = -1
                while True:
                    seen = await self.standing.wait_changed(seen)
                    self._record()

    def _truth(self, nats: NatsBus | None) -> Truth:
        if self._disk is not None:
            opening = partial(open_simulated, self._disk, self.life, timeout_s=self._settings.store_timeout_s)
            return ReadStore(self._settings, self._catalog.files_only, self.known, opening)
        return AskRouters(nats, self.known) if nats is not None else FilesOnly()

    def status(self) -> WorkerStatus:
        """How it stands, written down before anybody else can learn of it."""
        self._record()
        return self._worker.status()

    def find(self, name: str, needed: tuple[str, int]) -> Route:
        """As its inference routes do, told by a router as of which revision of which store it knows of the model."""
        with Knowing(needed, lambda store: self.known.known.get(store, 0)):
            return route(self.known.catalog, parse_spec(name), self.bundle)

    def _record(self) -> None:
        """What it says and has now, as far as that is news."""
        world, status, name = self._world, self._worker.status(), self.life.name
        for model in self.known.catalog.in_bundle(status.bundle):
            if self._seen.get(model.sie_id) is model:
                continue
            self._seen[model.sie_id] = model
            for profile, content in contents(model).items():
                if self._held.get((model.sie_id, profile)) != content:
                    self._held[model.sie_id, profile] = content
                    world.seen.append(
                        Holds(
                            at=world.now,
                            worker=name,
                            bundle=status.bundle,
                            model=model.sie_id,
                            profile=profile,
                            content=content,
                        )
                    )
        said = (status.store, status.revision, status.digest, status.ready)
        if said == self._said:
            return
        self._said = said
        world.seen.append(
            Stands(
                at=world.now,
                worker=name,
                bundle=status.bundle,
                store=status.store or "",
                revision=status.revision,
                digest=status.digest,
                ready=status.ready,
            )
        )


def contents(model: Model) -> dict[str, str]:
    """Each profile's content, as text that is equal exactly where the contents are."""
    return {name: profile.canonical.decode() for name, profile in model.profiles.items()}
