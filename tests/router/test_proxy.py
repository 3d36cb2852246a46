"""The proxy, between real clients and workers on real sockets: where a request goes, what arrives, what comes back."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx
import orjson
import pytest
import trio
from quart import Blueprint, Response, request

from sie.catalog.catalog import Catalog
from sie.http.auth import Access
from sie.http.body import note_read
from sie.http.headers import Headers
from sie.router.fleet import Fleet
from sie.router.forward import open_forwarder
from sie.router.proxy import Proxy, proxy_blueprint
from sie.router.revision import reach_min_revision
from sie.settings import Settings
from sie.wire.status import WorkerStatus
from tests.router.made import ADAPTER, STORE, Site, catalog_of, entry, eventually, open_site

SPARSE = "sie.worker.adapters.sparse"
MODEL = "org/model"
PATH = f"/v1/encode/{MODEL}"


@dataclass
class Router:
    """What a proxy knows, and the proxy behind HTTP. `store_id`, `catalog`, `revision`: as sie.router.proxy.Known."""

    catalog: Catalog
    settings: Settings
    fleet: Fleet = field(default_factory=Fleet)
    store_id: str = STORE
    arrived: trio.Event = field(default_factory=trio.Event)
    asked_for: list[int] = field(default_factory=list)
    proxy: Proxy = field(init=False)
    site: Site = field(init=False)

    @property
    def revision(self) -> int:
        return self.catalog.head

    def looking_up(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def reach(self, headers: Headers) -> None:
        await reach_min_revision(
            headers,
            revision=lambda: self.revision,
            wait_revision=self.wait_revision,
            within_s=self.settings.min_revision_s,
        )

    async def wait_revision(self, revision: int) -> None:
        self.asked_for.append(revision)
        while self.revision < revision:
            await self.arrived.wait()
            self.arrived = trio.Event()

    def client(self, **said: Any) -> httpx.AsyncClient:
        return self.site.client(**said)

    async def post(self, path: str = PATH, **said: Any) -> httpx.Response:
        async with self.client() as client:
            return await client.post(path, **said)

    def hears(self, worker: str | Worker, name: str = "", **said: Any) -> None:
        """Of a worker that is ready and knows everything, unless said otherwise."""
        url = worker if isinstance(worker, str) else worker.site.url
        fields: dict[str, Any] = {"bundle": "default", "ready": True, "store": STORE, "revision": self.revision}
        self.fleet.heard(WorkerStatus(**{**fields, "name": name or url, "url": url, **said}))


@dataclass
class Asked:
    """A request as it reached a worker."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    port: int


@dataclass
class Worker:
    """A worker's HTTP as in the wire format, and what a test makes it do."""

    site: Site = field(default_factory=Site)
    asked: list[Asked] = field(default_factory=list)
    answers: Callable[[], Awaitable[Response]] | None = None
    begun: trio.Event = field(default_factory=trio.Event)
    cancelled: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)

    def routes(self) -> Blueprint:
        routes = Blueprint("worker", __name__)

        @routes.post("/<path:path>")
        async def infer(path: str) -> Response:
            self.begun.set()
            try:
                return await (self.answers or self.answer)()
            except trio.Cancelled:
                self.cancelled.set()
                raise

        return routes

    async def answer(self) -> Response:
        body = b"".join([piece async for piece in request.body])
        note_read(request)
        query = request.query_string.decode()
        target = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        client = request.scope["client"] or ("", 0)
        self.asked.append(Asked(request.method, target, dict(request.headers), body, int(client[1] or 0)))
        return Response(b'{"ok":true}', headers={"X-Inference-Time": "1.00"}, content_type="application/json")

    async def hold(self) -> Response:
        await self.go.wait()
        return await self.answer()


async def open_worker(nursery: trio.Nursery, port: int = 0) -> Worker:
    worker = Worker()
    worker.site = await open_site(nursery, worker.routes(), port=port)
    return worker


OpenRouter = Callable[..., Awaitable[Router]]


@pytest.fixture
async def open_router(nursery: trio.Nursery) -> AsyncIterator[OpenRouter]:
    """A router on a free port: `await open_router(entries…, bundles=…, setting=…)`."""

    async def serve(
        router: Router, access: Access, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with open_forwarder(router.settings) as forwarder, trio.open_nursery() as inner:
            router.proxy = Proxy(router, router.fleet, forwarder, router.settings, router.reach)
            blueprint = proxy_blueprint(router.proxy, access)
            router.site = await open_site(
                inner,
                blueprint,
                request_body_bytes=router.settings.request_body_bytes,
                body_s=router.settings.body_s,
            )
            task_status.started()

    async def opened(
        *entries: Any, bundles: Mapping[str, Sequence[str]] | None = None, access: Access | None = None, **said: Any
    ) -> Router:
        catalog = catalog_of(*(entries or (entry(1),)), bundles=bundles)
        router = Router(catalog, replace(Settings(), **said))
        await nursery.start(serve, router, access or Access(auth_token=None, admin_token=None))
        return router

    yield opened
    nursery.cancel_scope.cancel(reason="the test is over")


async def raw_worker(nursery: trio.Nursery, talk: Callable[[trio.SocketStream], Awaitable[None]]) -> str:
    """Something on a port that is no good worker."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await talk(stream)

    (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}"


def dead_port() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


# -- what arrives, and what comes back


@pytest.mark.parametrize("kind", ["encode", "score", "extract"])
async def test_a_request_reaches_the_worker_under_the_models_own_name(
    nursery: trio.Nursery, open_router: OpenRouter, kind: str
) -> None:
    """No bundle before it, no other case, the profile after it, the query as it was."""
    router, worker = await open_router(entry(1, profiles=("default", "x"))), await open_worker(nursery)
    router.hears(worker)
    answer = await router.post(f"/v1/{kind}/DEFAULT:/ORG/Model:x?a=1&b=%2F&c=a+b", content=b"body")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    await router.post(f"/v1/{kind}/{MODEL}", content=b"")
    first, second = worker.asked
    assert (first.method, first.target, first.body) == ("POST", f"/v1/{kind}/org/model:x?a=1&b=%2F&c=a+b", b"body")
    assert (second.target, second.body) == (f"/v1/{kind}/org/model", b"")


async def test_headers_are_passed_on_but_for_those_of_the_connection_and_the_clients_token(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    access = Access(auth_token="reader", admin_token=None)
    router = await open_router(entry(1), entry(2, profiles=("p",)), auth_token="ours", access=access)
    worker = await open_worker(nursery)
    router.hears(worker)
    sent = {
        "Authorization": "Bearer reader",
        "Accept": "application/json",
        "Content-Type": "application/msgpack",
        "Prefer": "wait=30",
        "X-SIE-SDK-Version": "0.1.10",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "5",
        "TE": "trailers",
        "X-SIE-Min-Revision": "1",
        "X-SIE-Model-Revision": "999",
    }
    answer = await router.post(content=b"x", headers=sent)
    (asked,) = worker.asked
    got = {name.lower(): value for name, value in asked.headers.items()}
    assert got["authorization"] == "Bearer ours"
    assert got["x-sie-model-revision"] == "2"
    assert got["x-sie-model-store"] == STORE
    assert got["host"] == worker.site.url.removeprefix("http://")
    for name in ("Accept", "Content-Type", "Prefer", "X-SIE-SDK-Version"):
        assert got[name.lower()] == sent[name]
    assert {"x-hop", "keep-alive", "te", "x-sie-min-revision"} & got.keys() == set()
    assert answer.headers["X-SIE-Worker"] == worker.site.url
    assert answer.headers["X-Inference-Time"] == "1.00"
    assert answer.headers["Content-Type"] == "application/json"
    for name in ("Date", "X-SIE-Server-Version", "Content-Length", "X-SIE-Worker"):
        assert len(answer.headers.get_list(name)) == 1, name


async def test_a_worker_without_a_token_of_ours_never_sees_the_clients(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    await router.post(headers={"Authorization": "Bearer secret"})
    assert "secret" not in str(worker.asked[0].headers)


async def test_a_declared_length_stays_one_and_a_body_in_chunks_stays_so(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)

    async def pieces() -> AsyncIterator[bytes]:  # noqa: ASYNC900
        yield b"a" * 10
        yield b"b" * 10

    await router.post(content=b"c" * 20)
    await router.post(content=pieces())
    declared, chunked = worker.asked
    assert declared.headers["Content-Length"] == "20"
    assert (chunked.headers["Transfer-Encoding"], chunked.body) == ("chunked", b"a" * 10 + b"b" * 10)


async def test_a_request_body_goes_on_while_it_still_comes(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    received: list[bytes] = []
    first = trio.Event()

    async def read_in_pieces() -> Response:
        async for piece in request.body:
            received.append(piece)
            first.set()
        return Response(b"".join(received))

    async def pieces() -> AsyncIterator[bytes]:  # noqa: ASYNC900
        yield b"first"
        await first.wait()  # the worker has it already
        yield b"second"

    worker.answers = read_in_pieces
    with trio.fail_after(10):
        answer = await router.post(content=pieces())
    assert answer.content == b"firstsecond"


async def test_an_answer_goes_on_while_it_still_comes(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    seen = trio.Event()

    async def pieces() -> AsyncIterator[bytes]:  # noqa: ASYNC900
        yield b"first"
        await seen.wait()
        yield b"second"

    async def stream() -> Response:
        return Response(pieces(), content_type="text/plain")

    worker.answers = stream
    received = b""
    with trio.fail_after(10):
        async with router.client() as client, client.stream("POST", PATH) as answer:
            async for piece in answer.aiter_raw():
                received += piece
                seen.set()
    assert received == b"firstsecond"
    await eventually(partial(idle, router))


async def test_twenty_megabytes_go_through_both_ways(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)

    async def echo() -> Response:
        return Response(await request.get_data(), content_type="application/msgpack")

    worker.answers = echo
    content = bytes(range(256)) * 80_000
    answer = await router.post(content=content)
    assert answer.content == content
    assert answer.headers["Content-Length"] == str(len(content))


async def test_a_workers_refusals_are_passed_through_as_they_are(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, first, second = await open_router(), await open_worker(nursery), await open_worker(nursery)
    router.hears(first, loaded_models=[MODEL])
    router.hears(second)

    async def full() -> Response:
        return Response(b'{"detail":{"code":"QUEUE_FULL"}}', 503, {"Retry-After": "7"}, content_type="application/json")

    first.answers = full
    answer = await router.post()
    assert (answer.status_code, answer.json()) == (503, {"detail": {"code": "QUEUE_FULL"}})
    assert answer.headers["Retry-After"] == "7"
    assert second.asked == []


async def test_requests_share_connections_to_a_worker(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    for _ in range(5):
        await router.post(content=b"x")
    assert len({one.port for one in worker.asked}) == 1


async def test_concurrent_requests_are_spread_over_equal_workers(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router = await open_router()
    workers = [await open_worker(nursery) for _ in range(3)]
    for worker in workers:
        worker.answers = worker.hold
        router.hears(worker)
    async with trio.open_nursery() as clients:
        for _ in range(12):
            clients.start_soon(router.post)
        await eventually(lambda: sum(router.proxy.statistics().in_flight.values()) == 12)
        assert set(router.proxy.statistics().in_flight.values()) == {4}
        for worker in workers:
            worker.go.set()
    assert [len(worker.asked) for worker in workers] == [4, 4, 4]
    assert router.proxy.statistics().in_flight == {}


async def test_a_worker_that_has_the_model_in_memory_is_preferred(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, cold, warm = await open_router(), await open_worker(nursery), await open_worker(nursery)
    router.hears(cold)
    router.hears(warm, loaded_models=[MODEL], queue_depth=5)
    for _ in range(4):
        await router.post()
    assert (len(cold.asked), len(warm.asked)) == (0, 4)


# -- failures of workers


async def close_at_once(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def close_after_reading(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.aclose()


async def reset(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    stream.socket.close()


async def talk_nonsense(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(b"SSH-2.0-OpenSSH\r\n\r\n")
    await stream.aclose()


async def begin_a_head(stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-")
    await stream.aclose()


FAILURES = [None, close_at_once, close_after_reading, reset, talk_nonsense, begin_a_head]


@pytest.mark.parametrize("talk", FAILURES, ids=lambda talk: talk.__name__ if talk else "dead")
async def test_a_worker_that_fails_before_it_answers_costs_one_try_on_another(
    nursery: trio.Nursery, open_router: OpenRouter, talk: Callable[[trio.SocketStream], Awaitable[None]] | None
) -> None:
    router, good = await open_router(), await open_worker(nursery)
    bad = await raw_worker(nursery, talk) if talk is not None else dead_port()
    router.hears(bad, loaded_models=[MODEL])
    router.hears(good)
    answer = await router.post(content=b"the same body")
    assert (answer.status_code, answer.headers["X-SIE-Worker"]) == (200, good.site.url)
    assert [one.body for one in good.asked] == [b"the same body"]
    found = router.proxy.statistics()
    assert (found.tried_again, found.unreachable, found.in_flight) == (1, 0, {})


async def test_without_another_worker_it_is_502_and_so_it_is_after_two(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router = await open_router()
    for count in (1, 2, 3):
        for number in range(count):  # at other addresses each time, as the fleet may know them by name
            router.hears(dead_port(), name=f"dead-{number}")
        answer = await router.post(content=b"x")
        assert (answer.status_code, answer.json()["detail"]["code"]) == (502, "WORKER_UNREACHABLE")
        assert answer.json()["detail"]["worker"].startswith("dead-")
    found = router.proxy.statistics()
    assert (found.unreachable, found.tried_again, found.answered) == (3, 2, 0)


async def test_a_body_that_is_too_large_to_keep_is_not_sent_twice(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, good = await open_router(forward_kept_bytes=100_000), await open_worker(nursery)

    async def read_it_all(stream: trio.SocketStream) -> None:
        read = b""
        while len(read) < 150_000:
            read += await stream.receive_some(65536)
        await stream.aclose()

    router.hears(await raw_worker(nursery, read_it_all), loaded_models=[MODEL])
    router.hears(good)
    assert (await router.post(content=b"x" * 300_000)).status_code == 502
    assert good.asked == []


async def test_a_worker_killed_while_it_computes_is_replaced_by_another(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, first, second = await open_router(), await open_worker(nursery), await open_worker(nursery)
    first.answers = first.hold
    router.hears(first, loaded_models=[MODEL])
    router.hears(second)
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await router.post(content=b"x"))

    async with trio.open_nursery() as clients:
        clients.start_soon(ask)
        await first.begun.wait()
        first.site.kill()
    assert [(one.status_code, one.headers["X-SIE-Worker"]) for one in answers] == [(200, second.site.url)]


async def test_a_worker_that_was_restarted_at_its_address_is_used_again(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    """The pooled connection to its former life is dead."""
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    assert (await router.post()).status_code == 200
    worker.site.kill()
    await worker.site.stopped.wait()
    again = await open_worker(nursery, port=int(worker.site.url.rpartition(":")[2]))
    assert (await router.post()).status_code == 200
    assert len(again.asked) == 1


async def test_a_kept_connection_that_ends_as_it_is_used_again_is_replaced_by_a_fresh_one(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    """To the same worker, which was there all the time: it has closed it for being idle."""
    router = await open_router(forward_kept_bytes=100_000)
    bodies: list[bytes] = []
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def one_each(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(ok)
        read = bytes(await stream.receive_some(65536))
        while b"300000" in read and len(read) < 200_000:
            read += await stream.receive_some(65536)
        bodies.append(read)
        await stream.aclose()

    router.hears(await raw_worker(nursery, one_each))
    for _ in range(3):
        assert (await router.post(content=b"the same")).content == b"ok"
    assert [one.endswith(b"the same") for one in bodies] == [True, True]
    assert router.proxy.statistics().tried_again == 0
    assert (await router.post(content=b"x" * 300_000)).status_code == 502  # it is not kept, and so not sent again


async def test_a_name_is_looked_up_again_once_the_catalog_has_changed(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker, revision=9)
    assert (await router.post()).status_code == 200
    assert (await router.post(f"{PATH}:new")).status_code == 400
    router.catalog.advance(entry(2, profiles=("new",)))
    assert (await router.post(f"{PATH}:new")).status_code == 200
    assert (await router.post()).status_code == 200
    assert [one.headers["X-Sie-Model-Revision"] for one in worker.asked] == ["1", "2", "2"]
    router.catalog = catalog_of(entry(1, "org/another"))
    assert (await router.post()).status_code == 404


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_an_answer_that_breaks_off_is_broken_off_to_the_client(
    nursery: trio.Nursery, open_router: OpenRouter, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    """It is neither repeated nor ended as if it were whole."""
    router, good = await open_router(), await open_worker(nursery)

    async def break_off(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"5\r\nhello\r\n")
        await stream.aclose()

    router.hears(await raw_worker(nursery, break_off), loaded_models=[MODEL])
    router.hears(good)
    with pytest.raises(httpx.RemoteProtocolError):
        await router.post()
    assert good.asked == []
    await eventually(partial(idle, router))
    assert [record.levelname for record in caplog.records if "broke its answer off" in record.message] == ["WARNING"]
    assert not any(record.exc_info for record in caplog.records)


async def test_a_worker_that_never_answers_is_504_and_is_not_repeated(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker, other = (
        await open_router(forward_silence_s=0.2),
        await open_worker(nursery),
        await open_worker(nursery),
    )
    worker.answers = worker.hold
    router.hears(worker, loaded_models=[MODEL])
    router.hears(other)
    answer = await router.post()
    assert (answer.status_code, answer.json()["detail"]["code"]) == (504, "WORKER_SILENT")
    assert other.asked == []
    with trio.fail_after(5):
        await worker.cancelled.wait()


# -- failures of clients


def idle(router: Router) -> bool:
    return not router.proxy.statistics().in_flight


async def connected(router: Router, head: str, body: bytes = b"") -> trio.SocketStream:
    host, _, port = router.site.url.removeprefix("http://").partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(f"POST {PATH} HTTP/1.1\r\nHost: r\r\n{head}\r\n".encode() + body)
    return stream


async def test_a_client_that_hangs_up_cancels_the_workers_handler(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    worker.answers = worker.hold
    router.hears(worker)
    client = await connected(router, "Content-Length: 1\r\n", b"x")
    await worker.begun.wait()
    await client.aclose()
    with trio.fail_after(5):
        await worker.cancelled.wait()
    await eventually(partial(idle, router))


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_cancels_the_workers_handler(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    client = await connected(router, "Content-Length: 100\r\n", b"x")
    await worker.begun.wait()
    await client.aclose()
    with trio.fail_after(5):
        await worker.cancelled.wait()
    await eventually(partial(idle, router))
    assert worker.asked == []


async def test_a_client_that_hangs_up_in_the_middle_of_the_answer_stops_the_worker(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    """Whether the router waits for the worker then or for the client."""
    for endless in (True, False):
        router, worker = await open_router(), await open_worker(nursery)
        stopped = trio.Event()

        async def pieces(endless: bool, stopped: trio.Event) -> AsyncIterator[bytes]:  # noqa: ASYNC900
            try:
                yield b"x" * 1000
                while endless:
                    yield b"x" * 65536
                await trio.sleep_forever()
            finally:
                stopped.set()

        async def stream(endless: bool, stopped: trio.Event) -> Response:
            return Response(pieces(endless, stopped), content_type="text/plain")

        worker.answers = partial(stream, endless, stopped)
        router.hears(worker)
        client = await connected(router, "Content-Length: 0\r\n")
        assert (await client.receive_some(1000)).startswith(b"HTTP/1.1 200")
        await client.aclose()
        with trio.fail_after(5):
            await stopped.wait()
        await eventually(partial(idle, router))


async def test_a_body_over_the_limit_is_413_declared_or_not(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(request_body_bytes=200_000), await open_worker(nursery)
    router.hears(worker)

    async def pieces() -> AsyncIterator[bytes]:  # noqa: ASYNC900
        for _ in range(20):
            yield b"x" * 20_000
            await trio.sleep(0.001)

    for body in (b"x" * 200_001, pieces()):
        answer = await router.post(content=body)
        assert (answer.status_code, answer.json()["detail"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert worker.asked == []
    assert (await router.post(content=b"x" * 200_000)).status_code == 200


async def test_a_client_that_sends_too_slowly_is_408(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(body_s=0.2), await open_worker(nursery)
    router.hears(worker)
    async with await connected(router, "Content-Length: 100\r\n", b"x") as client:
        with trio.fail_after(5):
            assert (await client.receive_some(1000)).startswith(b"HTTP/1.1 408")
        with trio.fail_after(5):
            await worker.cancelled.wait()


# -- decisions, in their order


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["X-SIE-Error-Code"] == answer.json()["detail"]["code"]
    return answer.status_code, answer.json()["detail"]["code"]


async def test_a_name_that_leads_nowhere_is_said_so_before_workers_are_looked_at(open_router: OpenRouter) -> None:
    other = entry(2, "org/sparse", adapter=f"{SPARSE}:SparseAdapter")
    bundles = {"default": ("sie.worker.adapters.dense",), "sparse": (SPARSE,)}
    router = await open_router(entry(1), other, bundles=bundles)
    for name, wanted in (
        ("org/none", (404, "MODEL_NOT_FOUND")),
        ("sparse:/org/model", (409, "BUNDLE_CONFLICT")),
        ("none:/org/model", (409, "BUNDLE_CONFLICT")),
        ("org/model:none", (400, "INVALID_INPUT")),
        (":/org/model", (400, "INVALID_MODEL_SPEC")),
        ("org/model", (503, "NO_WORKERS")),
    ):
        assert code_of(await router.post(f"/v1/encode/{name}")) == wanted
    assert (await router.post("/v1/encode/org/model")).headers["Retry-After"] == "5"
    assert (await router.post("/v1/encode/")).status_code == 404


async def test_a_request_goes_to_the_bundle_that_runs_the_profile(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    sparse = entry(2, profiles=("sparse",), adapter=f"{SPARSE}:SparseAdapter")
    bundles = {"default": ("sie.worker.adapters.dense",), "sparse": (SPARSE,), "both": (SPARSE, ADAPTER.split(":")[0])}
    router = await open_router(entry(1), sparse, bundles=bundles)
    workers = {name: await open_worker(nursery) for name in bundles}
    for name, worker in workers.items():
        router.hears(worker, bundle=name)
    for spec in (MODEL, f"{MODEL}:sparse", f"both:/{MODEL}", f"both:/{MODEL}:sparse"):
        assert (await router.post(f"/v1/encode/{spec}")).status_code == 200
    assert {name: [one.target for one in worker.asked] for name, worker in workers.items()} == {
        "default": ["/v1/encode/org/model"],
        "sparse": ["/v1/encode/org/model:sparse"],
        "both": ["/v1/encode/org/model", "/v1/encode/org/model:sparse"],
    }


async def test_no_worker_behind_the_profiles_entry_gets_the_request(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    """The default profile came with revision 1, the other with 2."""
    router, worker = await open_router(entry(1), entry(2, profiles=("new",))), await open_worker(nursery)
    router.hears(worker, revision=0)
    assert code_of(await router.post()) == (503, "MODEL_LOADING")
    assert (await router.post()).headers["Retry-After"] == "1"
    router.hears(worker, revision=1)
    assert (await router.post()).status_code == 200
    assert code_of(await router.post(PATH + ":new")) == (503, "MODEL_LOADING")
    router.hears(worker, revision=2, store="another")
    assert code_of(await router.post()) == (503, "MODEL_LOADING")
    router.hears(worker, revision=2)
    assert (await router.post(PATH + ":new")).status_code == 200


async def test_a_draining_worker_gets_nothing(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, draining, staying = await open_router(), await open_worker(nursery), await open_worker(nursery)
    router.hears(draining, ready=False, loaded_models=[MODEL])
    assert code_of(await router.post()) == (503, "NO_WORKERS")
    router.hears(staying)
    assert (await router.post()).headers["X-SIE-Worker"] == staying.site.url


async def test_a_machine_profile_is_asked_for_by_name_pool_or_spot_form_and_told_as_the_workers_own(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router = await open_router(configured_machines=("l4-spot", "a100"))
    spot, large = await open_worker(nursery), await open_worker(nursery)
    router.hears(spot, machine_profile="L4-spot")
    router.hears(large, machine_profile="a100")
    for asked, worker, told in (
        ("l4", spot, "L4-spot"),
        ("pool/L4", spot, "L4-spot"),
        ("l4-spot", spot, "L4-spot"),
        ("A100", large, "a100"),
    ):
        answer = await router.post(headers={"X-SIE-MACHINE-PROFILE": asked})
        assert (answer.status_code, answer.headers["X-SIE-Worker"]) == (200, worker.site.url)
        headers = {name.lower(): value for name, value in worker.asked[-1].headers.items()}
        assert headers["x-sie-machine-profile"] == told
    await router.post(content=b"no machine asked for")
    last = max(spot.asked[-1:] + large.asked[-1:], key=lambda one: len(one.body))
    assert "x-sie-machine-profile" not in {name.lower() for name in last.headers}


async def test_a_machine_that_is_configured_and_not_there_is_202_and_one_that_is_not_is_400(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(configured_machines=("l4", "a100")), await open_worker(nursery)
    router.hears(worker, machine_profile="l4", revision=0)
    answer = await router.post(headers={"X-SIE-MACHINE-PROFILE": "pool/A100"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "5")
    body = answer.json()
    assert (body["status"], body["gpu"], body["estimated_wait_s"]) == ("provisioning", "a100", 180)
    assert code_of(await router.post(headers={"X-SIE-MACHINE-PROFILE": "l4"})) == (503, "MODEL_LOADING")
    refused = await router.post(headers={"X-SIE-MACHINE-PROFILE": "h100"})
    assert code_of(refused) == (400, "GPU_NOT_CONFIGURED")
    assert refused.json()["detail"]["configured_gpu_types"] == ["a100", "l4"]
    assert (await router.post("/v1/encode/org/none", headers={"X-SIE-MACHINE-PROFILE": "h100"})).status_code == 404


async def test_where_nothing_is_configured_any_machine_may_come(open_router: OpenRouter) -> None:
    router = await open_router()
    assert (await router.post(headers={"X-SIE-MACHINE-PROFILE": "h100"})).status_code == 202


async def test_a_v0_1_10_workers_404_for_an_added_model_is_that_it_has_not_heard_of_it(
    nursery: trio.Nursery, open_router: OpenRouter
) -> None:
    router, worker = await open_router(), await open_worker(nursery)

    async def not_found() -> Response:
        return Response(b'{"detail":{"code":"MODEL_NOT_FOUND"}}', 404, content_type="application/json")

    worker.answers = not_found
    router.hears(worker, by_hash=True)
    assert code_of(await router.post()) == (503, "MODEL_LOADING")
    router.hears(worker, by_hash=False)
    assert (await router.post()).status_code == 404


# -- read your own writes


async def test_a_revision_that_is_asked_for_is_waited_for(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    """Also by a request for a model that only comes with it."""
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker, revision=2)
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await router.post("/v1/encode/org/new", headers={"X-SIE-Min-Revision": "2"}))

    async with trio.open_nursery() as clients:
        clients.start_soon(ask)
        await eventually(lambda: router.asked_for == [2])
        router.catalog.advance(entry(2, "org/new"))
        router.arrived.set()
    assert [one.status_code for one in answers] == [200]
    assert (await router.post(headers={"X-SIE-Min-Revision": "2"})).status_code == 200
    assert router.asked_for == [2]  # what is there is not waited for


async def test_a_revision_that_does_not_come_is_503_with_the_lag(open_router: OpenRouter) -> None:
    router = await open_router(min_revision_s=0.05)
    answer = await router.post(headers={"X-SIE-Min-Revision": "8"})
    assert code_of(answer) == (503, "CONFIG_BEHIND")
    assert (answer.json()["detail"]["lag"], answer.json()["detail"]["revision"]) == (7, 1)
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("said", ["-1", "x", "", "1.0", "9" * 19, "\u0661"])
async def test_a_revision_that_is_none_is_400(open_router: OpenRouter, said: str) -> None:
    router = await open_router()
    answer = await router.post(headers={"X-SIE-Min-Revision": said.encode()})
    assert code_of(answer) == (400, "INVALID_INPUT")


# -- embeddings


async def test_embeddings_go_by_the_name_in_their_body(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(worker)
    as_it_was = b'{ "input": "text",  "model": "org/model" }'
    await router.post("/v1/embeddings", content=as_it_was, headers={"Content-Type": "application/json"})
    await router.post("/v1/embeddings", json={"model": "default:/ORG/Model:default", "input": ["a"], "user": "u"})
    first, second = worker.asked
    assert (first.target, first.body) == ("/v1/embeddings", as_it_was)
    assert orjson.loads(second.body) == {"model": "org/model:default", "input": ["a"], "user": "u"}
    assert second.headers["Content-Length"] == str(len(second.body))


async def test_embeddings_are_tried_on_another_worker_too(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router, worker = await open_router(), await open_worker(nursery)
    router.hears(dead_port(), loaded_models=[MODEL])
    router.hears(worker)
    assert (await router.post("/v1/embeddings", json={"model": MODEL, "input": "x"})).status_code == 200


async def test_what_is_wrong_with_embeddings_is_said_as_openai_says_it(open_router: OpenRouter) -> None:
    router = await open_router()
    for body, status, code in (
        (b"not json", 400, "invalid_input"),
        (b'{"input": "x"}', 400, "invalid_input"),
        (b'{"model": 5}', 400, "invalid_input"),
        (b'{"model": "org/none"}', 404, "model_not_found"),
        (b'{"model": "org/model"}', 503, "no_workers"),
    ):
        answer = await router.post("/v1/embeddings", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    answer = await router.post(
        "/v1/embeddings", json={"model": MODEL, "input": "x"}, headers={"X-SIE-MACHINE-PROFILE": "l4"}
    )
    assert answer.status_code == 503  # their clients would take a 202 for vectors


# -- models, tokens


async def test_models_are_listed_with_who_serves_them(nursery: trio.Nursery, open_router: OpenRouter) -> None:
    router = await open_router(entry(1), entry(2, "org/other", ("default", "p")))
    router.hears("http://a:1", loaded_models=["org/other"])
    router.hears("http://b:1")
    router.hears("http://c:1", ready=False, loaded_models=[MODEL])
    async with router.client() as client:
        listed = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/ORG/other")).json()
        assert (await client.get("/v1/models/org/none")).status_code == 404
    shared = {"bundles": ["default"], "worker_count": 2, "workers": ["http://a:1", "http://b:1"]}
    default = {"default": {"is_default": True}}
    other = {
        "name": "org/other",
        **shared,
        "loaded": True,
        "profiles": {**default, "p": {"is_default": False}},
    }
    assert listed["models"] == [{"name": MODEL, **shared, "loaded": False, "profiles": default}, other]
    assert [item["id"] for item in listed["data"]] == [MODEL, "org/other"]
    assert one == {**other, "id": "org/other", "object": "model", "created": 0, "owned_by": "sie"}


async def test_every_route_needs_a_token_where_one_is_set(open_router: OpenRouter) -> None:
    router = await open_router(access=Access(auth_token="t", admin_token=None))
    async with router.client() as client:
        for method, path in (("POST", PATH), ("POST", "/v1/embeddings"), ("GET", "/v1/models")):
            assert (await client.request(method, path)).status_code == 401
        assert (await client.get("/v1/models", headers={"Authorization": "Bearer t"})).status_code == 200
