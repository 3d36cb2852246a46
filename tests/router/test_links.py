"""Links to workers, over real sockets: what is heard is told at once, and no failure ends the dialling."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import trio
from quart import Blueprint, websocket
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from sie.errors import ConfigurationError, Unauthorized
from sie.router.links import Links, LinkStatistics, worker_url
from sie.settings import Settings
from sie.wire.status import WorkerStatus
from tests.router.made import eventually, open_site

QUICK = replace(Settings(), status_redial_s=0.1, status_connect_s=1.0, status_silence_s=5.0)
Behaviour = Callable[[WebSocketConnection], Awaitable[None]]


@dataclass
class Told:
    """What the links said, in order; `until` waits for more of it."""

    events: list[WorkerStatus | str] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)

    def heard(self, status: WorkerStatus) -> None:
        self._add(status)

    def left(self, key: str) -> None:
        self._add(key)

    def _add(self, event: WorkerStatus | str) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = trio.Event()

    @property
    def names(self) -> list[str]:
        return [one if isinstance(one, str) else one.name for one in self.events]

    async def until(self, met: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not met():
                await self.changed.wait()


def status(name: str = "w", **fields: Any) -> str:
    return json.dumps({"ready": True, "name": name, "config_revision": 1, "config_store": "s", **fields})


async def says(messages: list[str | bytes], connection: WebSocketConnection) -> None:
    """A worker that sends these and then keeps the connection."""
    for message in messages:
        await connection.send_message(message)
    await trio.sleep_forever()


async def serve_worker(nursery: trio.Nursery, behave: Behaviour, *, port: int = 0) -> tuple[str, trio.CancelScope]:
    """A worker's `/ws/status` on a free port: its URL, and the scope whose end is its death."""

    async def accept(request: WebSocketRequest) -> None:
        assert request.path == "/ws/status"
        connection = await request.accept()
        with suppress(ConnectionClosed):
            await behave(connection)

    async def serve(task_status: trio.TaskStatus[tuple[str, trio.CancelScope]]) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as life:
                server = await life.start(partial(serve_websocket, accept, "127.0.0.1", port, None))
                task_status.started((f"http://127.0.0.1:{server.port}", scope))

    result: tuple[str, trio.CancelScope] = await nursery.start(serve)
    return result


async def serve_bytes(nursery: trio.Nursery, talk: Callable[[trio.SocketStream], Awaitable[None]]) -> str:
    """Something on a port that is no worker."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await talk(stream)

    (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}"


async def linked(nursery: trio.Nursery, *urls: str, settings: Settings = QUICK) -> tuple[Links, Told]:
    told = Told()
    links = Links(told.heard, told.left, replace(settings, workers=urls))
    await nursery.start(links.run)
    return links, told


def of(links: Links) -> LinkStatistics:
    (only,) = links.statistics()
    return only


async def test_every_status_is_told_in_order_with_the_workers_address(nursery: trio.Nursery) -> None:
    url, _ = await serve_worker(nursery, partial(says, [status("a"), status("a", config_revision=2)]))
    links, told = await linked(nursery, url + "/")
    await told.until(lambda: len(told.events) == 2)
    first, second = told.events
    assert isinstance(first, WorkerStatus)
    assert isinstance(second, WorkerStatus)
    assert (first.name, first.url, first.key, first.revision, second.revision) == ("a", url, url, 1, 2)
    assert of(links) == LinkStatistics(url=url, connected=True, dials=1, statuses=2, refused=0, trouble=None)
    nursery.cancel_scope.cancel(reason="done")


async def test_a_worker_behind_our_own_server_is_heard_and_its_refusal_of_the_token_is_told(
    nursery: trio.Nursery,
) -> None:
    routes = Blueprint("status", __name__)

    @routes.websocket("/ws/status")
    async def follow() -> None:
        if websocket.headers.get("Authorization") != "Bearer right":
            raise Unauthorized("The token in the Authorization header is not known")
        await websocket.send(status("ours"))
        await trio.sleep_forever()

    site = await open_site(nursery, routes)
    right, told = await linked(nursery, site.url, settings=replace(QUICK, auth_token="right"))
    await told.until(lambda: told.names == ["ours"])
    assert of(right).connected
    wrong, _ = await linked(nursery, site.url, settings=replace(QUICK, auth_token="wrong"))
    await eventually(lambda: of(wrong).dials >= 2)
    assert of(wrong).trouble == "it refused the handshake with HTTP 401"
    nursery.cancel_scope.cancel(reason="done")


async def test_a_worker_that_goes_is_told_at_once_and_found_again_when_it_is_back(nursery: trio.Nursery) -> None:
    url, life = await serve_worker(nursery, partial(says, [status("before")]))
    links, told = await linked(nursery, url)
    await told.until(lambda: told.names == ["before"])
    life.cancel(reason="killed")
    await told.until(lambda: told.names[1:2] == [url])
    await serve_worker(nursery, partial(says, [status("after")]), port=int(url.rpartition(":")[2]))
    await told.until(lambda: told.names[-1] == "after")
    assert of(links).connected
    nursery.cancel_scope.cancel(reason="done")


async def test_our_token_is_shown_and_without_one_no_header_is_sent(nursery: trio.Nursery) -> None:
    shown: list[Any] = []
    seen = trio.Event()

    async def talk(stream: trio.SocketStream) -> None:
        head = (await stream.receive_some(4096)).decode().lower()
        shown.append([line for line in head.split("\r\n") if line.startswith("authorization")])
        seen.set()
        await trio.sleep_forever()

    for admin, auth, wanted in (
        (None, None, []),
        ("Boss", None, ["authorization: bearer boss"]),
        ("boss", "reader", ["authorization: bearer reader"]),
    ):
        shown.clear()
        seen = trio.Event()
        async with trio.open_nursery() as inner:
            await linked(
                inner, await serve_bytes(inner, talk), settings=replace(QUICK, admin_token=admin, auth_token=auth)
            )
            with trio.fail_after(5):
                await seen.wait()
            inner.cancel_scope.cancel(reason="seen")
        assert shown == [wanted]


@pytest.mark.parametrize(
    "message",
    ["garbage", b"\x00\xff", "[]", '{"ready": 1}', '{"config_revision": -1}', "x" * 2_000_000],
    ids=["text", "binary", "list", "type", "negative", "large"],
)
async def test_a_message_that_is_no_status_drops_the_connection_and_is_dialled_again(
    nursery: trio.Nursery, message: str | bytes
) -> None:
    replies = iter([[status("good"), message], [status("again")]])

    async def behave(connection: WebSocketConnection) -> None:
        await says(next(replies), connection)  # type: ignore[arg-type]

    url, _ = await serve_worker(nursery, behave)
    links, told = await linked(nursery, url)
    await told.until(lambda: told.names == ["good", url, "again"])
    assert of(links).refused == (0 if len(message) > 1_000_000 else 1)  # the large one never was a message
    assert of(links).dials == 2
    nursery.cancel_scope.cancel(reason="done")


async def test_fifty_megabytes_in_one_message_are_not_collected(nursery: trio.Nursery) -> None:
    sent = 0

    async def talk(stream: trio.SocketStream) -> None:
        nonlocal sent
        await answer_handshake(stream)
        await stream.send_all(b"\x81\x7f" + (50_000_000).to_bytes(8, "big"))  # one text frame of that length
        for _ in range(50):
            await stream.send_all(b"x" * 1_000_000)
            sent += 1

    url = await serve_bytes(nursery, talk)
    links, told = await linked(nursery, url)
    await told.until(lambda: told.names == [url])
    await eventually(lambda: of(links).dials >= 2)
    assert sent < 50
    nursery.cancel_scope.cancel(reason="done")


async def answer_handshake(stream: trio.SocketStream) -> None:
    import base64
    import hashlib

    head = (await stream.receive_some(4096)).decode()
    (key,) = [line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")]
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    await stream.send_all("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())


async def reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    stream.socket.close()


async def reset_later(stream: trio.SocketStream) -> None:
    await answer_handshake(stream)
    await reset(stream)


async def refuse(answer: bytes, stream: trio.SocketStream) -> None:
    await stream.receive_some(4096)
    await stream.send_all(answer)
    await trio.sleep_forever()


async def flood(stream: trio.SocketStream) -> None:
    await stream.receive_some(4096)
    await stream.send_all(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send_all(b"10000\r\n" + b"x" * 65536 + b"\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        partial(refuse, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"),
        partial(refuse, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\n\r\n"),
        partial(refuse, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        partial(refuse, b"SSH-2.0-OpenSSH\r\n"),
        partial(refuse, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        partial(refuse, b"\x00" * 100_000),
        partial(refuse, b"HTTP/1.1 101 "),
        reset,
        reset_later,
        flood,
    ],
    ids=["404", "503", "200", "ssh", "no key", "zeros", "half", "reset", "reset later", "flood"],
)
async def test_whatever_answers_the_dialling_goes_on(
    nursery: trio.Nursery, talk: Callable[[trio.SocketStream], Awaitable[None]]
) -> None:
    url = await serve_bytes(nursery, talk)
    links, told = await linked(nursery, url, settings=replace(QUICK, status_connect_s=0.3))
    await eventually(lambda: of(links).dials >= 3)
    assert not of(links).connected
    assert of(links).trouble
    assert set(told.names) <= {url}
    nursery.cancel_scope.cancel(reason="done")


async def test_nobody_listening_is_no_reason_to_stop(nursery: trio.Nursery) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        links, told = await linked(nursery, f"http://127.0.0.1:{taken.getsockname()[1]}")
        await eventually(lambda: of(links).dials >= 3)
    assert "could not be reached" in (of(links).trouble or "")
    assert told.events == []
    nursery.cancel_scope.cancel(reason="done")


async def test_a_worker_that_falls_silent_counts_as_gone(nursery: trio.Nursery) -> None:
    url, _ = await serve_worker(nursery, partial(says, [status("quiet")]))
    links, told = await linked(nursery, url, settings=replace(QUICK, status_silence_s=0.1))
    await told.until(lambda: told.names[:3] == ["quiet", url, "quiet"])
    assert of(links).dials >= 2
    nursery.cancel_scope.cancel(reason="done")


async def test_one_bad_worker_does_not_touch_the_others(nursery: trio.Nursery) -> None:
    good, _ = await serve_worker(nursery, partial(says, [status("good")]))
    bad, _ = await serve_worker(nursery, partial(says, ["garbage"]))
    links, told = await linked(nursery, good, bad, good + "/", f"http://{good.rpartition('/')[2]}")
    await told.until(lambda: told.names.count(bad) >= 2 and "good" in told.names)
    assert {one.url: one.connected for one in links.statistics()} == {good: True, bad: False}
    assert good not in told.names
    nursery.cancel_scope.cancel(reason="done")


async def test_stopping_is_prompt_and_tells_of_everybody(nursery: trio.Nursery) -> None:
    """Also while one peer answers no closing handshake and another does not even accept."""
    url, _ = await serve_worker(nursery, partial(says, [status("w")]))
    deaf = await serve_bytes(nursery, partial(refuse, b""))
    told = Told()
    links = Links(told.heard, told.left, replace(QUICK, workers=(url, deaf), status_connect_s=60))
    async with trio.open_nursery() as inner:
        await inner.start(links.run)
        await told.until(lambda: told.names == ["w"])
        began = trio.current_time()
        inner.cancel_scope.cancel(reason="stop")
    assert trio.current_time() - began < 1
    assert told.names == ["w", url]
    assert links.statistics() == []
    nursery.cancel_scope.cancel(reason="done")


class Names(trio.abc.HostnameResolver):
    """A name server: `addresses` is what it says, None is its failure."""

    def __init__(self) -> None:
        self.addresses: list[str] | None = None

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        await trio.lowlevel.checkpoint()
        if self.addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        number = int(port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, number)) for one in self.addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


async def test_a_name_is_resolved_again_and_again_and_its_failure_costs_nobody(nursery: trio.Nursery) -> None:
    url, life = await serve_worker(nursery, partial(says, [status("w")]))
    port = int(url.rpartition(":")[2])
    names = Names()
    before = trio.socket.set_custom_hostname_resolver(names)
    try:
        told = Told()
        settings = replace(QUICK, worker_dns=f"workers.test:{port}", worker_dns_s=0.02)
        links = Links(told.heard, told.left, settings)
        async with trio.open_nursery() as inner:
            await inner.start(links.run)
            assert links.statistics() == []
            assert "no such name" in (links.unresolved or "")
            names.addresses = ["127.0.0.1", "127.0.0.1"]
            await told.until(lambda: told.names == ["w"])
            assert links.unresolved is None

            names.addresses = None  # the name server fails: the worker stays
            await eventually(lambda: links.unresolved is not None)
            assert of(links).connected

            names.addresses = []  # the name leads nowhere any more: what works is kept, what ends is not dialled again
            await eventually(lambda: links.unresolved is None)
            assert of(links).connected
            life.cancel(reason="gone for good")
            await told.until(lambda: told.names == ["w", url])
            await eventually(lambda: not links.statistics())
            inner.cancel_scope.cancel(reason="done")
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    nursery.cancel_scope.cancel(reason="done")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://W:8080/", "http://w:8080"),
        ("w:8080", "http://w:8080"),
        ("https://w/sie/", "https://w/sie"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_an_address_has_one_spelling(given: str, meant: str) -> None:
    assert worker_url(given) == meant


@pytest.mark.parametrize(
    "given", ["", "ftp://w:1", "http://", "http://w:port", "http://w:99999", "http://u@w:1", "http://w?x"]
)
def test_an_address_that_is_none_is_refused_at_start(given: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        worker_url(given)
    assert "SIE_ROUTER_WORKERS" in str(refused.value)


@pytest.mark.parametrize("given", ["workers", "workers:", ":80", "workers:0", "workers:eighty"])
def test_a_dns_name_without_a_port_is_refused_at_start(given: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Links(lambda _: None, lambda _: None, replace(QUICK, worker_dns=given))
    assert "SIE_WORKER_DNS" in str(refused.value)
