"""One request passed on to a worker, its answer passed back: both streamed, over pooled connections."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import trio
from werkzeug.datastructures import Headers

from sie.errors import WorkerUnreachable
from sie.router.token import bearer
from sie.router.upload import Upload
from sie.settings import Settings
from sie.wire.status import WorkerStatus

log = logging.getLogger(__name__)

# What speaks of one connection, not of the request or answer on it.
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers"),
        *("transfer-encoding", "upgrade", "host", "expect"),
    }
)
# Said anew by us, or not a worker's business: a client's token stays with the router it was shown to.
_NOT_PASSED_ON = _HOP_BY_HOP | {"content-length", "authorization", "remote-addr", "x-sie-min-revision"}
_NOT_PASSED_BACK = _HOP_BY_HOP | {"date", "x-sie-worker", "x-sie-server-version"}  # said by us


class Answer:
    """What a worker answers, from when its status and headers are here. The body comes as it is read.

    Whoever has one closes it; what sends it does so after that. Closed before its end, it hangs up on the worker.
    Reading it raises WorkerUnreachable if the worker breaks off: then the client's connection must be cut as well.
    """

    def __init__(self, response: httpx.Response, worker: WorkerStatus, on_close: Callable[[], None]) -> None:
        self.status = response.status_code
        self.headers = _passed_back(response.headers.raw)
        self.headers["X-SIE-Worker"] = worker.name or worker.url
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._stream = response.stream
        self._pieces = aiter(response.stream)
        self._looked_at: list[bytes] = []
        self._worker = worker
        self._on_close = on_close
        self._closed = False

    def __aiter__(self) -> Answer:
        return self

    async def look(self, most: int) -> bytes:
        """The body, or the pieces it begins with until they are `most` bytes; it is still all there to be iterated.

        Raises WorkerUnreachable.
        """
        while sum(map(len, self._looked_at)) < most:
            try:
                self._looked_at.append(await self._next())
            except StopAsyncIteration:
                break
        return b"".join(self._looked_at)

    async def __anext__(self) -> bytes:
        return self._looked_at.pop(0) if self._looked_at else await self._next()

    async def _next(self) -> bytes:
        try:
            return await anext(self._pieces)
        except httpx.TransportError as fault:
            log.warning("worker %s broke its answer off: %s", self._worker.key, _said(fault))
            raise WorkerUnreachable("the worker broke its answer off", worker=self._worker.name) from None

    async def aclose(self) -> None:
        """Let the connection go: back to the pool if all was read, else closed. Cancelled, it does so all the same."""
        if self._closed:
            return
        self._closed = True
        self._on_close()
        # A read that is cancelled at once ends httpx's generators from the innermost out, and with them the connection.
        with trio.CancelScope() as hang_up:
            hang_up.cancel(reason="nobody reads the rest of this answer")
            try:
                while True:
                    await anext(self._pieces)
            except (StopAsyncIteration, httpx.TransportError):
                pass
        await self._stream.aclose()


class Forwarder:
    """Asks workers over HTTP. `in_flight`: requests under way, by worker key, until their answers are closed."""

    def __init__(self, transport: httpx.AsyncHTTPTransport, settings: Settings) -> None:
        self.in_flight: Counter[str] = Counter()
        self._transport = transport
        self._own = [(name.encode(), value.encode()) for name, value in bearer(settings).items()]
        silence_s = settings.forward_silence_s
        timeout = httpx.Timeout(silence_s, connect=settings.forward_connect_s)
        self._extensions = {"timeout": timeout.as_dict()}

    async def ask(
        self,
        worker: WorkerStatus,
        path: str,
        *,
        query: bytes,
        headers: Headers,
        said: Mapping[str, str],
        upload: Upload,
    ) -> Answer:
        """POST to the worker; the answer, as soon as it begins. `said`: headers of ours, over those of the client.

        Raises httpx.TransportError if none began, and what reading the upload raises. Cancelled: it hangs up.
        """
        key = worker.key
        url = httpx.URL(worker.url + quote(path, safe="/:@!$&'()*+,;=~"))
        if query:
            url = url.copy_with(query=quote(query, safe=_QUERY).encode())
        request = httpx.Request(
            "POST",
            url,
            headers=[*_passed_on(headers, said), *self._own, (b"Host", url.netloc), _length(upload)],
            stream=upload,
            extensions=self._extensions,
        )
        self.in_flight[key] += 1

        def landed() -> None:
            self.in_flight[key] -= 1
            if not self.in_flight[key]:
                del self.in_flight[key]  # addresses come and go

        try:
            return Answer(await self._transport.handle_async_request(request), worker, landed)
        except BaseException:
            landed()
            raise


@asynccontextmanager
async def open_forwarder(settings: Settings) -> AsyncIterator[Forwarder]:
    """A Forwarder with its pool of connections, closed at the end."""
    # Neither proxies nor certificates from the environment: workers are next door. Connections are as many as requests.
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=settings.forward_keep_alive_s
    )
    async with httpx.AsyncHTTPTransport(limits=limits, trust_env=False) as transport:
        yield Forwarder(transport, settings)


_QUERY = "".join(map(chr, range(0x21, 0x7F)))  # passed on as it came; hypercorn lets other bytes through


def _passed_on(headers: Headers, said: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    dropped = _NOT_PASSED_ON | _named(headers.getlist("Connection")) | {name.lower() for name in said}
    for name, value in headers.items():
        if name.lower() not in dropped:
            yield name.encode("latin-1"), value.encode("latin-1")
    for name, value in said.items():
        yield name.encode(), value.encode()


def _passed_back(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    headers = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in raw]
    dropped = _NOT_PASSED_BACK | _named(value for name, value in headers if name.lower() == "connection")
    return Headers([(name, value) for name, value in headers if name.lower() not in dropped])


def _named(connection: Iterable[str]) -> frozenset[str]:
    """The headers that a Connection header says to be of this connection only."""
    return frozenset(name.strip().lower() for value in connection for name in value.split(","))


def _length(upload: Upload) -> tuple[bytes, bytes]:
    if upload.length is None:
        return b"Transfer-Encoding", b"chunked"
    return b"Content-Length", str(upload.length).encode()


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__} {fault}".rstrip()
