# Rule: what is permanent is never 503, and nothing is sent to a worker that is behind what the request needs.
"""Inference over HTTP in a router: from a name to the workers that may serve it, to the answer of one of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import orjson
import trio
from quart import Response, request

from sie.caller.faults import Silent, Unreachable
from sie.catalog.catalog import Catalog
from sie.catalog.spec import Route, parse_spec, route
from sie.errors import ModelLoading, NoWorkers, SieError, WorkerSilent, WorkerUnreachable
from sie.http.auth import Access
from sie.http.headers import Headers
from sie.http.plain import Asked, PlainBlueprint, Reply
from sie.router.choice import asked_machine, best, machines_for, on_machines
from sie.router.forward import Answer, Forwarder
from sie.router.models import write_routed_model, write_routed_models
from sie.router.traffic import Traffic
from sie.router.upload import Upload
from sie.settings import Settings
from sie.wire.model_name import read_model_name, with_model_name
from sie.wire.status import WorkerStatus

log = logging.getLogger(__name__)

MACHINE = "X-SIE-MACHINE-PROFILE"
_MACHINE = MACHINE.lower().encode()
_TRIES = 2
_ROUTES_KEPT = 4096  # clients may write one model's name in many ways
_FAREWELL_BYTES = 4096
_GATE_RETRY_S = 1.0  # a worker that is there catches up within milliseconds, or is being looked after


class ServingFleet(Protocol):
    """What the proxy asks of the fleet."""

    def in_bundle(self, bundle: str) -> Sequence[WorkerStatus]:
        """The healthy workers of a bundle."""

    def serving(self, bundle: str, *, store: str, revision: int) -> Sequence[WorkerStatus]:
        """Those of them that know everything up to `revision` of this store."""


class Known(Protocol):
    """What the proxy asks of the router: its catalog, of which store, as of which revision."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def store_id(self) -> str: ...

    @property
    def revision(self) -> int: ...

    def looking_up(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatistics:
    """`in_flight`: requests under way, by worker key; the others count since the start."""

    in_flight: Mapping[str, int]
    answered: int
    tried_again: int
    unreachable: int


class Proxy:
    """Inference by name over the workers of the fleet.

    `reach`: returns once what a request's headers ask to be known is known, or raises InvalidInput or CatalogBehind.
    """

    def __init__(
        self,
        known: Known,
        fleet: ServingFleet,
        forwarder: Forwarder,
        settings: Settings,
        reach: Callable[[Headers], Awaitable[None]],
    ) -> None:
        self.known = known
        self.fleet = fleet
        self.settings = settings
        self.reach = reach
        self._forwarder = forwarder
        # Names looked up before, as long as the catalog is the same.
        self._routes: dict[str, Route] = {}
        self._routes_of: Catalog | None = None
        self._routes_as_of = 0
        self._turn = 0
        self._answered = 0
        self._tried_again = 0
        self._unreachable = 0
        self.traffic = Traffic(settings.configured_machines)

    def statistics(self) -> ProxyStatistics:
        return ProxyStatistics(
            in_flight=dict(self._forwarder.in_flight),
            answered=self._answered,
            tried_again=self._tried_again,
            unreachable=self._unreachable,
        )

    def find(self, name: str) -> Route:
        """Where a name leads. Raises InvalidModelSpec, ModelNotFound, BundleConflict and InvalidInput.

        StoreUnavailable where it may lead somewhere as soon as the store is read.
        """
        catalog = self.known.catalog
        if self._routes_of is not catalog or self._routes_as_of != catalog.changes or len(self._routes) >= _ROUTES_KEPT:
            self._routes_of, self._routes_as_of = catalog, catalog.changes
            self._routes.clear()
        found = self._routes.get(name)
        if found is None:
            with self.known.looking_up():
                found = self._routes[name] = route(catalog, parse_spec(name))
        return found

    def candidates(self, found: Route, machine: str | None) -> Sequence[WorkerStatus]:
        """Workers that may serve it now. Empty: none of the machine profile asked for is there yet.

        Raises GpuNotConfigured; ModelLoading while workers are there and none has heard of the profile; NoWorkers.
        """
        machines = machines_for(machine, self.settings.configured_machines) if machine is not None else None
        store, revision = found.created(self.known.store_id)
        ready = self.fleet.serving(found.bundle, store=store, revision=revision)
        if able := on_machines(ready, machines):
            return able
        if on_machines(self.fleet.in_bundle(found.bundle), machines):
            raise ModelLoading(f"no worker of bundle {found.bundle} has {found.name} yet", retry_after_s=_GATE_RETRY_S)
        if machine is not None:
            return ()
        raise self.no_workers(found)

    def no_workers(self, found: Route) -> NoWorkers:
        return NoWorkers(
            f"no worker of bundle {found.bundle} is connected",
            bundle=found.bundle,
            retry_after_s=self.settings.no_workers_retry_s,
        )

    async def answer(self, asked: Asked, found: Route, path: str, upload: Upload) -> Answer | None:
        """Have the request answered by a worker; None if a machine has to come up first.

        A worker that cannot be reached, or goes before its answer has begun, costs one more try, on another. One of SIE
        v0.1.10 that lacks the model after all, or is on its way out, is passed by.
        Raises as `candidates` does, and WorkerUnreachable, WorkerSilent, and what reading the upload raises.
        Cancelled: the worker is hung up on.
        """
        machine = asked_machine(asked.headers.get(MACHINE))
        workers = list(self.candidates(found, machine))
        if not (there := len(workers)):
            self.traffic.unmet(machine or "", found.bundle, trio.current_time())
            return None
        asked_at = trio.current_time()
        failed = 0
        while workers:
            worker = self._choose(found, workers)
            self._tried_again += len(workers) < there
            try:
                answer = await self._ask(asked, worker, found, path, upload, machine)
            except Silent:
                raise WorkerSilent(f"worker {worker.name} did not answer in its time", worker=worker.name) from None
            except Unreachable as fault:
                log.warning("worker %s failed before it answered: %s", worker.key, fault)
                failed += 1
                failure: SieError = WorkerUnreachable(
                    f"worker {worker.name} failed before it answered", worker=worker.name
                )
            except _NotHere as elsewhere:
                failure = elsewhere.said
            else:
                self._answered += 1
                took_s = trio.current_time() - asked_at
                self.traffic.answered(path, answer.status, worker.machine_profile, took_s=took_s)
                return answer
            workers.remove(worker)
            if failed == _TRIES or not upload.repeatable:
                break
        self._unreachable += isinstance(failure, WorkerUnreachable)
        raise failure

    def wanted(self) -> Sequence[tuple[str, str]]:
        """Machine profile and bundle of what requests had to wait for lately, and is not there."""

        def met(machine: str, bundle: str) -> bool:
            machines = machines_for(machine, self.settings.configured_machines)
            return bool(on_machines(self.fleet.in_bundle(bundle), machines))

        return self.traffic.demand.pending(trio.current_time(), met)

    def _choose(self, found: Route, workers: Sequence[WorkerStatus]) -> WorkerStatus:
        self._turn += 1
        return best(workers, names=found.names, in_flight=self._forwarder.in_flight, turn=self._turn)

    async def _ask(
        self, asked: Asked, worker: WorkerStatus, found: Route, path: str, upload: Upload, machine: str | None
    ) -> Answer:
        store, revision = found.needed(self.known.store_id)
        headers = {b"x-sie-model-revision": b"%d" % revision, b"x-sie-model-store": store.encode()}
        if machine is not None:
            headers[_MACHINE] = worker.machine_profile.encode()  # a worker may take its own name only
        answer = await self._forwarder.ask(
            worker, path, query=asked.query, headers=asked.raw, said=headers, upload=upload
        )
        try:
            if worker.by_hash and (said := await self._not_here(worker, found, answer)) is not None:
                raise _NotHere(said)
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def _not_here(self, worker: WorkerStatus, found: Route, answer: Answer) -> SieError | None:
        """Why a worker of SIE v0.1.10 is not the one to ask: its status says neither what it has nor that it leaves."""
        if answer.status == 404 and found.created("")[1] > 0 and found.profile is None:
            # Its gate is a time, not a fact: it has not heard of the model. A profile by name it never serves.
            return ModelLoading(f"worker {worker.name} has not {found.name} yet", retry_after_s=_GATE_RETRY_S)
        if answer.status == 503 and _is_farewell(await answer.look(_FAREWELL_BYTES)):
            return NoWorkers(
                f"worker {worker.name} of bundle {found.bundle} is on its way out",
                bundle=found.bundle,
                retry_after_s=self.settings.no_workers_retry_s,
            )
        return None


class _NotHere(Exception):
    """The worker cannot serve this, and another may; `said`: what the client is told if there is none."""

    def __init__(self, said: SieError) -> None:
        super().__init__(said)
        self.said = said


def _is_farewell(body: bytes) -> bool:
    """Whether a 503 of SIE v0.1.10 is what it answers to everything once it ends: texts where others have objects."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(said, dict) and isinstance(said.get("error"), str) and isinstance(said.get("detail"), str)


def proxy_blueprint(proxy: Proxy, access: Access) -> PlainBlueprint:
    """`/v1/encode`, `/v1/score`, `/v1/extract`, `/v1/embeddings` and `/v1/models`, for sie.http.app.http_app."""
    routes = PlainBlueprint("proxy", __name__)
    settings = proxy.settings

    async def admit(headers: Headers) -> None:
        access.require_read(headers)
        await proxy.reach(headers)

    @routes.before_request
    async def check_access() -> None:
        await admit(request.headers)

    async def infer(kind: str, asked: Asked, model: str) -> Reply:
        await admit(asked.headers)
        found = proxy.find(model)
        answer = await proxy.answer(asked, found, f"/v1/{kind}/{found.name}", Upload.of(asked, settings))
        return _provisioning(asked, settings) if answer is None else _passed(answer)

    for kind in ("encode", "score", "extract"):
        routes.plain(f"/v1/{kind}/<path:model>")(partial(infer, kind))

    @routes.plain("/v1/embeddings")
    async def embeddings(asked: Asked, _: str) -> Reply:
        await admit(asked.headers)
        body = await asked.read_body(settings.request_body_bytes)
        name = read_model_name(body, values=settings.request_values)
        found = proxy.find(name)
        if name != found.name:
            body = with_model_name(body, found.name)
        answer = await proxy.answer(asked, found, "/v1/embeddings", Upload.whole(body))
        if answer is None:  # OpenAI's clients would take a 202 for vectors
            raise proxy.no_workers(found)
        return _passed(answer)

    @routes.get("/v1/models")
    async def models() -> Response:
        content = await write_routed_models(proxy.known.catalog, proxy.fleet)
        return Response(content, content_type="application/json")

    @routes.get("/v1/models/<path:model>")
    async def model(model: str) -> Response:
        content = write_routed_model(proxy.find(model).model, proxy.known.catalog, proxy.fleet)
        return Response(content, content_type="application/json")

    return routes


def _passed(answer: Answer) -> Reply:
    if answer.whole is None:
        return Reply(answer, answer.status, raw=answer.headers, content_type=None)
    answer.close()
    return Reply(answer.whole, answer.status, raw=answer.headers, content_type=None)


def _provisioning(asked: Asked, settings: Settings) -> Reply:
    machine = asked_machine(asked.headers.get(MACHINE))
    body = {
        "status": "provisioning",
        "gpu": machine,
        "estimated_wait_s": settings.provisioning_s,
        "message": f"no {machine} worker is there yet; one is being waited for",
    }
    return Reply(orjson.dumps(body), 202, [("Retry-After", f"{max(1, round(settings.provisioning_retry_s))}")])
