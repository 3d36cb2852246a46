# Rule: whatever one worker or one name server does, it costs its own link at most, and the link is tried again.
"""The router's links to its workers: one task an address, each dialling `/ws/status` for as long as the router runs."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import SplitResult, urlsplit

import trio
from trio_websocket import CloseReason, ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from sie.errors import ConfigurationError, ParseError
from sie.router.handshake import HandshakeBroken, HandshakeStream
from sie.router.token import bearer
from sie.settings import Settings
from sie.wire.status import WorkerStatus
from sie.wire.status_message import read_status

log = logging.getLogger(__name__)

_FIRST_REDIAL_S = 0.05
_READ_BYTES = 64 * 1024
_TOLD_MOST = 4  # reasons of one outage that are logged; a peer can invent as many as it likes


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """One link. `dials`: tries to connect; `statuses`: messages taken; `refused`: messages that were no status.

    `trouble`: why the last connection ended or was never made, None while connected.
    """

    url: str
    connected: bool
    dials: int
    statuses: int
    refused: int
    trouble: str | None


class Links:
    """Tells of every worker it hears from, and of each that is gone.

    `heard` gets each status as it comes. `left` gets the worker's key, its URL, the moment its connection ends or has
    been silent for too long. Raises ConfigurationError for an address that cannot be one.
    """

    def __init__(self, heard: Callable[[WorkerStatus], None], left: Callable[[str], None], settings: Settings) -> None:
        self._heard = heard
        self._left = left
        self._settings = settings
        self._static = frozenset(worker_url(one) for one in settings.workers)
        self._service = _host_and_port(settings.worker_dns) if settings.worker_dns else None
        self._wanted = self._static
        self._links: dict[str, _Link] = {}
        self._unresolved: str | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dial and follow until cancelled; then every link ends at once, and each worker heard of is told as left.

        Started when every address known so far is being dialled; with a DNS name, when it was asked for once.
        """
        async with trio.open_nursery() as nursery:
            await self._look(nursery)
            task_status.started()
            while self._service is not None:
                await trio.sleep(self._settings.worker_dns_s * _jitter())
                await self._look(nursery)

    def statistics(self) -> Sequence[LinkStatistics]:
        """Every link there is, by URL."""
        return [self._links[url].statistics() for url in sorted(self._links)]

    @property
    def unresolved(self) -> str | None:
        """Why the last look-up of the workers' DNS name failed; None if it did not."""
        return self._unresolved

    async def _look(self, nursery: trio.Nursery) -> None:
        """Dial whom there is no link to yet."""
        if self._service is not None:
            await self._resolve(*self._service)
        for url in self._wanted - self._links.keys():
            self._links[url] = _Link(url, self._heard, self._left, self._settings)
            nursery.start_soon(self._keep, url)

    async def _keep(self, url: str) -> None:
        # An address that DNS no longer gives keeps a connection that works, and is not dialled again after it.
        try:
            await self._links[url].run(lambda: url in self._wanted)
        finally:
            del self._links[url]

    async def _resolve(self, host: str, port: int) -> None:
        """A name server's failure changes nothing: who was there is asked to tell for himself."""
        try:
            with trio.fail_after(self._settings.status_connect_s):
                found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, UnicodeError, trio.TooSlowError) as fault:
            if self._unresolved is None:
                log.warning("the workers' name %s cannot be resolved, asking again: %s", host, _said(fault))
            self._unresolved = _said(fault)
            return
        self._unresolved = None
        self._wanted = self._static | {_address(str(sockaddr[0]), port) for *_, sockaddr in found}


class _Link:
    """One address: dialled, followed, dialled again."""

    def __init__(
        self, url: str, heard: Callable[[WorkerStatus], None], left: Callable[[str], None], settings: Settings
    ) -> None:
        self._url = url
        self._address = urlsplit(url)
        self._heard = heard
        self._left = left
        self._settings = settings
        self._connected = False
        self._trouble: str | None = "not dialled yet"
        self._told: set[str] = set()  # why there is no connection, since there was one
        self._counts: Counter[str] = Counter()

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(
            url=self._url,
            connected=self._connected,
            dials=self._counts["dials"],
            statuses=self._counts["statuses"],
            refused=self._counts["refused"],
            trouble=self._trouble,
        )

    async def run(self, wanted: Callable[[], bool]) -> None:
        """Until cancelled, or until a connection ends at an address that is not wanted any more."""
        wait_s = _FIRST_REDIAL_S
        while wanted():
            begun = trio.current_time()
            self._counts["dials"] += 1
            try:
                await self._follow()
            except Exception as fault:  # the one place: a peer, or the library under it, may fail in any way
                self._tell(_first(fault))
            if trio.current_time() - begun > self._settings.status_connect_s:  # it was there, and not for a moment
                wait_s = _FIRST_REDIAL_S
            await trio.sleep(wait_s * _jitter())
            wait_s = min(wait_s * 2, self._settings.status_redial_s)

    async def _follow(self) -> None:
        """One connection, from dialling to its end, which is always an exception."""
        with trio.fail_after(self._settings.status_connect_s):
            stream = HandshakeStream(await self._connect())
        try:
            async with trio.open_nursery() as reader:
                with trio.fail_after(self._settings.status_connect_s):
                    connection = await wrap_client_stream(
                        reader,
                        cast("trio.SocketStream", stream),  # of which it uses what every stream has
                        self._address.netloc,
                        self._address.path + "/ws/status",
                        extra_headers=[
                            (name.encode(), value.encode()) for name, value in bearer(self._settings).items()
                        ],
                        message_queue_size=1,
                        max_message_size=self._settings.status_message_bytes,
                        receive_buffer_size=_READ_BYTES,
                    )
                stream.done()
                await self._listen(connection)
        finally:  # with no closing handshake: a dead peer would keep us waiting for it
            await trio.aclose_forcefully(stream)

    async def _connect(self) -> trio.abc.Stream:
        host = self._address.hostname or ""
        if self._address.scheme == "https":
            return await trio.open_ssl_over_tcp_stream(host, self._address.port or 443)
        return await trio.open_tcp_stream(host, self._address.port or 80)

    async def _listen(self, connection: WebSocketConnection) -> None:
        try:
            while True:
                with trio.fail_after(self._settings.status_silence_s):
                    message = await connection.get_message()
                self._take(message)
        finally:
            self._connected = False
            self._left(self._url)

    def _take(self, message: str | bytes) -> None:
        try:
            status = read_status(message, url=self._url)
        except ParseError:
            self._counts["refused"] += 1
            raise
        self._counts["statuses"] += 1
        if not self._connected:
            log.info("linked to worker %s at %s, bundle %s", status.name, self._url, status.bundle)
        self._connected = True
        self._trouble = None
        self._told.clear()
        self._heard(status)

    def _tell(self, fault: Exception) -> None:
        """Once for each new reason, or a worker that stays away would fill the log."""
        self._trouble = _said(fault)
        if self._trouble not in self._told and len(self._told) < _TOLD_MOST:
            self._told.add(self._trouble)
            log.warning("no link to the worker at %s, dialling on: %s", self._url, self._trouble)


def worker_url(given: str) -> str:
    """A worker's address as it is written everywhere: `http://host:port`, without a slash at its end.

    Raises ConfigurationError.
    """
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        fit = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        fit = False
    if not fit or parts.query or parts.fragment or parts.username:
        raise ConfigurationError(f"SIE_ROUTER_WORKERS: {given!r} is not of the form http://host:port")
    return SplitResult(parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", "").geturl()


def _host_and_port(given: str) -> tuple[str, int]:
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"SIE_WORKER_DNS: {given!r} is not of the form name:port")
    return host, int(port)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _jitter() -> float:
    return random.uniform(0.5, 1.0)


def _first(fault: Exception) -> Exception:
    """What happened, out of the nursery's group around it."""
    while isinstance(fault, ExceptionGroup):
        fault = fault.exceptions[0]
    return fault


def _said(fault: Exception) -> str:
    """A failure in words: some of the library's have none of their own."""
    match fault:
        case ConnectionRejected():
            return f"it refused the handshake with HTTP {fault.status_code}"
        case HandshakeBroken() | ParseError():
            return str(fault)
        case OSError():
            return f"it could not be reached: {fault}"
        case ConnectionClosed(reason=CloseReason() as reason):
            return f"the connection ended: {reason.name} {reason.reason or ''}".rstrip()
        case trio.TooSlowError():
            return "it was silent for too long"
    return f"{type(fault).__name__}: {fault}"[:300]
