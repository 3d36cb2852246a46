"""A router of the simulated cluster: the real config plane and the real choice of workers behind simulated edges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import trio

from sie.catalog.catalog import Catalog
from sie.errors import SieError
from sie.files import FileFault, load_catalog
from sie.flow import answer_post
from sie.http.headers import RawHeaders
from sie.router.forward import Forwarder
from sie.router.plane import ConfigPlane, Edges, open_plane
from sie.router.proxy import Proxy
from sie.router.revision import MIN_REVISION
from sie.services import open_services
from sie.settings import Settings
from sie.store.contract import Store
from sie.store.memory import MemoryStore
from sie.testing.simulation.broker import Broker, Link
from sie.testing.simulation.repeatable import EPOCH_S
from sie.testing.simulation.store import Disk, open_simulated
from sie.testing.simulation.worker import SimulatedWorker, contents
from sie.testing.simulation.world import Life, World
from sie.wire.envelope import config_answer, inference_answer


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client gets: a status and a JSON body; `content` is what the test alone sees of an inference."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    worker: str = ""
    content: str = ""


class SimulatedRouter:
    """One life of a router. `workers`: whom it dials, by number, as each lives now."""

    def __init__(
        self,
        life: Life,
        settings: Settings,
        world: World,
        catalog: Catalog,
        *,
        broker: Broker | None,
        disk: Disk | None,
        workers: Sequence[SimulatedWorker],
        skew_s: float,
    ) -> None:
        self.life = life
        self.link = Link(broker, life, settings) if broker is not None else None
        self.plane: ConfigPlane | None = None
        self._unreachable: set[int] = set()  # workers, by number
        self._parted = trio.Event()
        self._settings = settings
        self._catalog = catalog
        self._world = world
        self._disk = disk
        self._workers = workers
        self._skew_s = skew_s
        self._chance = world.chance(f"router {life.name}")
        self.memory: MemoryStore | None = None
        self._handlers: trio.Nursery | None = None  # while it answers

    async def live(self) -> None:
        """Until it ends."""
        with self.life.scope:
            edges = Edges(open_store=self._open_store, broker=self.link, load=self._load)
            async with (
                open_plane(self._settings, edges) as (plane, _),
                open_services("the router has ended") as services,
            ):
                self.plane = plane
                self.proxy = Proxy(plane.head, plane.fleet, cast("Forwarder", None), self._settings, plane.reach)
                for number in range(len(self._workers)):
                    services.start_soon(self._keep_linked, number)
                self._handlers = services
                await trio.sleep_forever()

    async def ask(self, request: Callable[[SimulatedRouter], Awaitable[Reply]], *, patience_s: float) -> Reply | None:
        """A client's request, handled in this router's life. None: no answer. Hanging up cancels what handles it."""
        if self._handlers is None or not self.life.alive:
            return None
        answers: list[Reply] = []
        done = trio.Event()

        async def handle() -> None:
            with hanging_up:
                answers.append(await request(self))
            done.set()

        hanging_up = trio.CancelScope()
        await trio.sleep(self._way())
        if self.life.over.is_set():
            return None
        self._handlers.start_soon(handle)
        with trio.move_on_after(patience_s):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(self.life.take_along, waiting.cancel_scope)
                await done.wait()
                waiting.cancel_scope.cancel(reason="answered")
        hanging_up.cancel(reason="the client has hung up")
        if not answers or not self.life.alive:
            return None
        await trio.sleep(self._way())
        return answers[0]

    def writes_to(self, store: str) -> bool:
        """Whether that store is the one it writes to."""
        return self.plane is not None and self.plane.head.store_id == store

    def part(self, worker: int) -> None:
        """Nothing passes between this router and that worker, by number."""
        self._unreachable.add(worker)
        self._parted.set()
        self._parted = trio.Event()

    def rejoin(self, worker: int) -> None:
        self._unreachable.discard(worker)

    # -- what it is asked

    async def post(self, body: bytes, key: str | None) -> Reply:
        assert self.plane is not None

        async def read_body() -> bytes:
            await trio.lowlevel.checkpoint()
            return body

        try:
            commit, answer = await answer_post(
                read_body, key=key, dry_run=False, writer=self.plane.writer, fleet=self.plane.fleet
            )
        except SieError as fault:
            said = config_answer(fault)
            return Reply(said.status, dict(said.body))
        store = next(iter(commit.needed.revisions), self.plane.head.store_id)
        return Reply(commit.status, {**answer, "store": store})

    async def show(self, model: str, at_least: int) -> Reply:
        assert self.plane is not None
        try:
            await self.plane.reach(RawHeaders([(MIN_REVISION.lower().encode(), b"%d" % at_least)]))
            found = self.plane.model(model)
        except SieError as fault:
            return Reply(config_answer(fault).status)
        return Reply(200, contents(found))

    async def infer(self, model: str, profile: str) -> Reply:
        assert self.plane is not None
        name = f"{model}:{profile}"
        await trio.lowlevel.checkpoint()
        try:
            found = self.proxy.find(name)
            status = self._chance.choice(list(self.proxy.candidates(found, None)))
        except SieError as fault:
            return Reply(inference_answer(fault).status)
        await trio.sleep(self._way())
        for worker in self._workers:
            if worker.url == status.url and worker.life.alive:
                try:
                    there = worker.find(name, found.needed(self.plane.head.store_id))
                except SieError as fault:
                    # Begun anew at its address, it is not the one that the router knows of.
                    asked = worker.life.name if worker.life.name == status.name else ""
                    return Reply(inference_answer(fault).status, worker=asked)
                content = contents(there.model)[profile]
                return Reply(200, worker=worker.life.name, content=content)
        return Reply(502)

    # -- its edges

    def _load(self, settings: Settings, origin: int) -> tuple[Catalog, Sequence[FileFault]]:
        """What the files say; read once for all lives that count from the same origin."""
        return (self._catalog.files_only(), ()) if not origin else load_catalog(settings, origin)

    async def _open_store(self) -> Store:
        if self._disk is None:
            await trio.lowlevel.checkpoint()
            self.memory = MemoryStore(now=lambda: EPOCH_S + self._world.now + self._skew_s)
            return self.memory
        return await open_simulated(self._disk, self.life, timeout_s=self._settings.store_timeout_s)

    async def _keep_linked(self, number: int) -> None:
        """As a link to a worker: told at once and at every change, in order; gone when the worker is, or is silent."""
        assert self.plane is not None
        while True:
            worker = self._workers[number]
            if not worker.life.alive or number in self._unreachable:
                await trio.sleep(self._settings.status_redial_s * self._chance.uniform(0.2, 1))
                continue
            async with trio.open_nursery() as watching:
                watching.start_soon(worker.life.take_along, watching.cancel_scope)
                watching.start_soon(self._end_when_parted, number, watching.cancel_scope)
                watching.start_soon(self._listen, worker)
            if not worker.life.over.is_set():  # then it is silence that ended this
                await trio.sleep(self._settings.status_silence_s)
            self.plane.fleet.left(worker.url)

    async def _listen(self, worker: SimulatedWorker) -> None:
        assert self.plane is not None
        seen = -1
        while True:
            seen = await worker.standing.wait_changed(seen)
            status = worker.status()
            await trio.sleep(self._way())
            self.plane.fleet.heard(replace(status, url=worker.url))

    async def _end_when_parted(self, number: int, scope: trio.CancelScope) -> None:
        while number not in self._unreachable:
            await self._parted.wait()
        scope.cancel(reason="silent")

    def _way(self) -> float:
        return 0.002 * self._chance.random()
