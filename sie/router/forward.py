"""One request passed on to a worker, its answer passed back: both streamed, over connections that are kept."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from urllib.parse import quote, urlsplit

from sie.caller import answer as caller
from sie.caller.caller import Caller
from sie.caller.faults import CallFault, Stale, Unreachable
from sie.caller.limits import Limits
from sie.caller.origin import Origin
from sie.errors import WorkerUnreachable
from sie.router.token import bearer
from sie.router.upload import Upload
from sie.services import open_services
from sie.settings import Settings
from sie.wire.status import WorkerStatus

log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

# What speaks of one connection, not of the request or answer on it.
_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"trailers"),
        *(b"transfer-encoding", b"upgrade", b"host", b"expect"),
    }
)
# Said anew by us, or not a worker's business: a client's token stays with the router it was shown to.
_NOT_PASSED_ON = _HOP_BY_HOP | {b"content-length", b"authorization", b"remote-addr", b"x-sie-min-revision"}
_NOT_PASSED_BACK = _HOP_BY_HOP | {b"date", b"x-sie-worker", b"x-sie-server-version"}  # said by us
_LENGTH = frozenset({b"content-length"})


class Answer:
    """What a worker answers, from when its status and headers are here. The body comes as it is read; `whole`: all of
    it, if it is here at once. Then `headers` leave its length to whoever passes it on.

    Whoever has one closes it; what sends it does so after that. Closed before its end, it hangs up on the worker.
    Reading it raises WorkerUnreachable if the worker breaks off: then the client's connection must be cut as well.
    """

    __slots__ = ("_answer", "_closed", "_looked_at", "_on_close", "_worker", "headers", "status", "whole")

    def __init__(self, answer: caller.Answer, worker: WorkerStatus, on_close: Callable[[], None]) -> None:
        self.status = answer.status
        self.whole = answer.whole
        self.headers = _but(answer.headers, _NOT_PASSED_BACK, _LENGTH if answer.whole is not None else ())
        self.headers.append((b"x-sie-worker", (worker.name or worker.url).encode("latin-1", "replace")))
        self._answer = answer
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
            return await anext(self._answer)
        except CallFault as fault:
            log.warning("worker %s broke its answer off: %s", self._worker.key, _said(fault))
            raise WorkerUnreachable("the worker broke its answer off", worker=self._worker.name) from None

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def close(self) -> None:
        """Let the connection go: to be used again if all was read, else closed."""
        if not self._closed:
            self._closed = True
            self._on_close()
            self._answer.close()


class Forwarder:
    """Asks workers over HTTP. `in_flight`: requests under way, by worker key, until their answers are closed."""

    def __init__(self, calls: Caller, settings: Settings) -> None:
        self.in_flight: dict[str, int] = {}
        self._calls = calls
        self._own = [(name.lower().encode(), value.encode()) for name, value in bearer(settings).items()]

    async def ask(
        self,
        worker: WorkerStatus,
        path: str,
        *,
        query: bytes,
        headers: Headers,
        said: Mapping[bytes, bytes],
        upload: Upload,
    ) -> Answer:
        """POST to the worker; the answer, as soon as it begins. `said`: headers of ours, over those of the client.

        A connection that the worker has closed meanwhile is replaced, if the upload can be repeated.
        Raises Unreachable or Silent if no answer began, and what reading the upload raises. Cancelled: it hangs up.
        """
        key = worker.key
        in_flight = self.in_flight
        in_flight[key] = in_flight.get(key, 0) + 1

        def landed() -> None:
            if (left := in_flight[key] - 1) > 0:
                in_flight[key] = left
            else:
                del in_flight[key]  # addresses come and go

        try:
            origin, target = _address(worker.url, path)
            if query:
                target = b"%b?%b" % (target, quote(query, safe=_QUERY).encode())
            passed_on = _but(headers, _NOT_PASSED_ON, said)
            passed_on += said.items()
            passed_on += self._own
            ask, length = self._calls.ask, upload.length
            try:
                answer = await ask(origin, b"POST", target, passed_on, await upload.content(), length=length)
            except Stale:
                if not upload.repeatable:
                    raise
                again = await upload.content()
                answer = await ask(origin, b"POST", target, passed_on, again, length=length, fresh=True)
            return Answer(answer, worker, landed)
        except BaseException:
            landed()
            raise


@asynccontextmanager
async def open_forwarder(settings: Settings) -> AsyncIterator[Forwarder]:
    """A Forwarder with its connections, closed at the end."""
    calls = Caller(
        Limits(
            connect_s=settings.forward_connect_s,
            silence_s=settings.forward_silence_s,
            keep_alive_s=settings.forward_keep_alive_s,
        )
    )
    async with open_services("the forwarder's block has ended") as services:
        services.start_soon(calls.sweep)
        try:
            yield Forwarder(calls, settings)
        finally:
            calls.close()


_QUERY = "".join(map(chr, range(0x21, 0x7F)))  # passed on as it came; hypercorn lets other bytes through


@lru_cache(maxsize=4096)
def _address(url: str, path: str) -> tuple[Origin, bytes]:
    try:
        origin, base = Origin.of(url), urlsplit(url).path
    except ValueError as fault:
        raise Unreachable(str(fault)) from None
    return origin, (base + quote(path, safe="/:@!$&'()*+,;=~")).encode()


def _but(headers: Headers, left_out: frozenset[bytes], more: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """Those headers, without the ones named there, and by a Connection header as being of this connection only."""
    named = [value for name, value in headers if name == b"connection"]
    if named:
        left_out |= {name.strip().lower() for value in named for name in value.split(b",")}
    return [one for one in headers if one[0] not in left_out and one[0] not in more]


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__} {fault}".rstrip()
