"""The cluster of one run: who lives in it, what is done to it, and what it knows in the end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import trio

from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry
from sie.files import load_catalog
from sie.settings import Settings
from sie.testing.simulation.broker import Broker, BusWeather
from sie.testing.simulation.clients import Clients
from sie.testing.simulation.router import SimulatedRouter
from sie.testing.simulation.schedule import Action, Ask, Crash, Cut, Down, Post, Schedule, Storm, Watch, Wipe
from sie.testing.simulation.store import Disk, StoreWeather
from sie.testing.simulation.worker import SimulatedWorker, contents
from sie.testing.simulation.world import Life, World
from spec.history import Listing, Settled

_QUIET_S = 0.2  # for as many steps as a crash waits for


@functools.cache
def shipped() -> Catalog:
    """What everybody has from the files of the build."""
    return load_catalog(Settings())[0]


class SimulatedCluster:
    """Made of a schedule; `play` plays it, and the world keeps its history."""

    def __init__(self, schedule: Schedule, world: World) -> None:
        self._world = world
        self._actions = schedule.actions
        self._plan = plan = schedule.cluster
        self._catalog = shipped()
        self._broker = Broker(world)
        stores = {"shared": 1, "own": plan.routers, "memory": 0}[plan.stores]
        self._disks = [Disk(world, number) for number in range(stores)]
        self._settings = Settings(
            store_dir={"shared": "s3://simulated/store", "own": "/simulated/store", "memory": None}[plan.stores],
            restore=plan.restore,
            nats_url="nats://simulated" if plan.bus else None,
            bus_key="simulated" if plan.bus_key else None,
            snapshot_every=plan.snapshot_every,
            # Shorter than by default, so that a run is: all is found out within fewer looks and tries.
            reconcile_s=12.0,
            store_timeout_s=2.0,
            commit_timeout_s=5.0,
            watch_bookmark_s=4.0,
        )
        self._lives = 0
        self._routers: list[SimulatedRouter] = []
        self._workers: list[SimulatedWorker] = []
        self._clients = Clients(world, self._routers, stores=plan.stores, restore=plan.restore)

    async def play(self, *, until_s: float, level_s: float) -> None:
        """Do it all; at `until_s` end whatever still fails; and tell who knows what after `level_s` more."""
        async with trio.open_nursery() as self._processes:
            for number in range(len(self._plan.bundles)):
                self._begin_worker(number)
            for number in range(self._plan.routers):
                self._begin_router(number)
            async with trio.open_nursery() as clients:
                for action in self._actions:
                    await trio.sleep_until(action.at)
                    self._do(action, clients)
                await trio.sleep_until(until_s)
                self._make_well()
            await trio.sleep_until(max(until_s, self._world.now) + level_s)
            self._tell_all()
            self._processes.cancel_scope.cancel(reason="the run is over")

    # -- lives

    def _begin_router(self, number: int) -> None:
        router = SimulatedRouter(
            self._life(f"router-{number}"),
            replace(self._settings, router_name=f"router-{number}"),
            self._world,
            self._catalog,
            broker=self._broker if self._plan.bus else None,
            disk=self._disks[number % len(self._disks)] if self._disks else None,
            workers=self._workers,
            skew_s=self._world.chance(f"clock {number}").uniform(-100, 100),
        )
        self._routers[number : number + 1] = [router]
        self._processes.start_soon(router.live)

    def _begin_worker(self, number: int) -> None:
        worker = SimulatedWorker(
            number,
            self._life(f"worker-{number}"),
            replace(self._settings, bundle=self._plan.bundles[number]),
            self._world,
            self._catalog,
            broker=self._broker if self._plan.bus else None,
            disk=self._disks[0] if self._plan.shared_readers else None,
        )
        self._workers[number : number + 1] = [worker]
        self._processes.start_soon(worker.live)

    def _life(self, name: str) -> Life:
        self._lives += 1
        return Life(f"{name}.{self._lives}")

    # -- what is done to it

    def _do(self, action: Action, clients: trio.Nursery) -> None:
        later = self._world.at
        match action:
            case Post():
                clients.start_soon(self._clients.post, action)
            case Ask():
                clients.start_soon(self._clients.read, action)
                clients.start_soon(self._clients.infer, action)
            case Watch():
                self._processes.start_soon(self._clients.watch, action)
            case Crash():
                self._crash(action)
            case Cut():
                self._cut(action)
            case Down(what="broker"):
                self._world.note("the broker is gone")
                self._broker.end()
                later(action.for_s, self._broker.begin)
            case Down():
                self._world.note("the store is away")
                self._stores_are(down=True)
                later(action.for_s, partial(self._stores_are, down=False))
            case Storm(weather=BusWeather() as weather):
                self._world.note(f"{weather}")
                self._broker.weather = weather
                later(action.for_s, self._calm_bus)
            case Storm(weather=StoreWeather() as weather):
                self._world.note(f"{weather}")
                self._stores_have(weather)
                later(action.for_s, partial(self._stores_have, StoreWeather()))
            case Wipe(number=number):
                self._world.note(f"store {number} is wiped")
                disk = self._disks[number]
                self._world.seen.append(self._listed(disk.id, 0, disk.entries))  # as for a memory that is lost
                disk.wipe()

    def _calm_bus(self) -> None:
        self._broker.weather = BusWeather()

    def _stores_have(self, weather: StoreWeather) -> None:
        for disk in self._disks:
            disk.weather = weather

    def _stores_are(self, *, down: bool) -> None:
        for disk in self._disks:
            disk.down = down

    def _crash(self, action: Crash) -> None:
        process = self._process(action)
        life = process.life
        begin = self._begin_router if action.who == "router" else self._begin_worker

        def crash() -> None:
            if life.alive:
                self._world.note(f"{life.name} is killed")
                life.end("killed")
                if isinstance(process, SimulatedRouter) and (memory := process.memory) is not None:
                    # What is lost with it may have been seen: nobody else can tell that there was such a store.
                    self._world.seen.append(self._listed(memory.id, memory.origin, memory._entries))
                self._world.at(action.back_s, partial(begin, action.number))

        if action.steps and life.alive:
            trio.lowlevel.add_instrument(_After(action.steps, crash))
            self._world.at(_QUIET_S, crash)  # where so little happens, now
        else:
            crash()

    def _cut(self, action: Cut) -> None:
        process, later = self._process(action), self._world.at
        self._world.note(f"{process.life.name} is cut off from the {action.off}")
        if action.off == "bus" and process.link is not None:
            process.link.part()
            later(action.for_s, process.link.heal)
        elif action.off == "store":
            process.life.cut_from_store = True
            later(action.for_s, partial(setattr, process.life, "cut_from_store", False))
        elif action.off == "status" and self._workers:
            router = process if isinstance(process, SimulatedRouter) else self._routers[0]
            worker = action.number % len(self._workers)
            router.part(worker)
            later(action.for_s, partial(router.rejoin, worker))

    def _process(self, action: Crash | Cut) -> SimulatedRouter | SimulatedWorker:
        return self._routers[action.number] if action.who == "router" else self._workers[action.number]

    def _make_well(self) -> None:
        self._world.note("all is well")
        self._calm_bus()
        self._stores_have(StoreWeather())
        self._stores_are(down=False)
        if not self._broker.up:
            self._broker.begin()
        processes: Sequence[SimulatedRouter | SimulatedWorker] = [*self._routers, *self._workers]
        for one in processes:
            if one.link is not None and one.link.cut:
                one.link.heal()
            one.life.cut_from_store = False
        for router in self._routers:
            for worker in range(len(self._workers)):
                router.rejoin(worker)

    # -- at the end

    def _tell_all(self) -> None:
        now, alone = self._world.now, self._plan.stores == "shared" or self._plan.routers == 1
        logs: dict[str, tuple[int, Sequence[Entry]]] = {disk.id: (0, disk.entries) for disk in self._disks}
        listings = []
        for number, router in enumerate(self._routers):
            assert router.plane is not None, f"router {number} has not come up"
            head = router.plane.head
            if router.memory is not None:
                logs[router.memory.id] = router.memory.origin, router.memory._entries
            models = {one.sie_id: contents(one) for one in head.catalog.models()}
            listings.append(
                Listing(
                    at=now,
                    who=f"router-{number}",
                    role="router",
                    models=models,
                    store=head.store_id,
                    revision=head.revision if alone else 0,
                )
            )
        for worker in self._workers:
            status = worker.status()
            listings.append(
                Listing(
                    at=now,
                    who=worker.life.name,
                    role="worker",
                    models={one.sie_id: contents(one) for one in worker.known.catalog.in_bundle(status.bundle)},
                    bundle=status.bundle,
                    # Which of several stores a worker counts as its own, and how far, is nothing to be level in.
                    store=(status.store or "") if alone else "",
                    revision=status.revision if alone else 0,
                    digest=status.digest,
                )
            )
        stores = [self._listed(store, origin, entries) for store, (origin, entries) in logs.items()]
        self._world.seen += [Settled(at=now), *stores, *listings]

    def _listed(self, store: str, origin: int, entries: Sequence[Entry]) -> Listing:
        """What a log says that begins after `origin`, with what every process has from its files."""
        catalog: Catalog = self._catalog.files_only()
        catalog.own = store
        for entry in entries:
            catalog.apply(entry)
        return Listing(
            at=self._world.now,
            who=f"store {store}",
            role="store",
            models={one.sie_id: contents(one) for one in catalog.models()},
            store=store,
            revision=entries[-1].revision if entries else 0,
            entries=[(one.revision, one.model_id, list(one.profiles)) for one in entries],
            heads={one: (max(origin, catalog.bundle_head(one)), catalog.digest(one)) for one in catalog.bundles},
        )


class _After(trio.abc.Instrument):
    """Does something so many steps from now, between two of them."""

    def __init__(self, steps: int, do: Callable[[], None]) -> None:
        self._left = steps
        self._do = do

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._do()
            trio.lowlevel.remove_instrument(self)
