"""A TCP proxy on loopback that fails on command, to stand between two real parts of a system."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import h11
import trio

from sie.testing.exchange import Request, events, next_event, read_request

_CHUNK = 65536

# How a connection ends when either side gives it up, in the middle of a message too.
_ENDED = (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds before the request goes on, and seconds before its answer does."""

    before_s: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CutBefore:
    """The connection is cut once the request has come in; nothing of it goes on."""


@dataclass(frozen=True, slots=True)
class CutAfter:
    """The request goes on and is carried out; the connection is cut in place of the answer."""


@dataclass(frozen=True, slots=True)
class Swallow:
    """The request goes on and is carried out; the answer never comes, and the connection stays open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """This answer instead of the server's. `after_success`: the request went on and was carried out all the same."""

    status: int
    after_success: bool = False
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class LandLate:
    """The connection is cut at once, and the request goes on later: when `land_late` of the proxy is called."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The client waits and nothing of the request goes on until `release` of the proxy is called. Then it is carried
    out, whether its client is still there or not, and answered, if it is."""


Fault = Delay | CutBefore | CutAfter | Swallow | Answer | LandLate | Hold

# From a request's method and target to what it meets; None is no fault.
Rule = Callable[[str, str], Fault | None]


class Proxy:
    """What `open_proxy` gives.

    With a plan of faults it speaks HTTP/1.1, whole requests and whole answers at a time: the nth request, over all
    connections, meets the nth fault; None is none. When the plan is used up, `rule` decides. Without a plan it passes
    on the bytes of any protocol as they come. In both cases these can be set or called at any time:

    `away`: True refuses by hanging up on new connections. `shut()` and `listen()`: nobody listens meanwhile, new
    connections are refused. `delay_s`: bytes, or requests, wait so long in each direction. `hold()` and `resume()`:
    nothing moves in between, as if the network had swallowed it. `cut()`: every connection there is now ends. `seen`:
    how many connections came in, or with a plan, how many requests. `held`: how many requests meet `Hold` now.
    """

    def __init__(self, upstream: tuple[str, int], faults: Iterable[Fault | None] | None) -> None:
        self.away = False
        self.delay_s = 0.0
        self.seen = 0
        self.port = 0
        self.held = 0
        self.rule: Rule | None = None
        self._upstream = upstream
        self._faults = None if faults is None else iter(faults)
        self._open = trio.Event()
        self._open.set()
        self._connections: set[trio.CancelScope] = set()
        self._late: list[Request] = []
        self._released = trio.Event()
        self._listening: trio.CancelScope | None = None
        self._changed = trio.Event()
        self._door_open = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def plan(self, *faults: Fault | None) -> None:
        """What the next requests meet, in place of what was left of the plan before."""
        assert self._faults is not None, "this proxy was opened without a plan"
        self._faults = iter(faults)

    def hold(self) -> None:
        if self._open.is_set():
            self._open = trio.Event()

    def resume(self) -> None:
        self._open.set()

    def cut(self) -> None:
        for connection in self._connections:
            connection.cancel(reason="the proxy was told to cut its connections")

    async def land_late(self) -> list[int]:
        """Let the requests that were held back reach the server now. Returns the status each one met."""
        late, self._late = self._late, []
        return [(await self._carry(request))[0].status_code for request in late]

    def release(self) -> None:
        """Let the requests that meet `Hold` go on; later ones meet it anew."""
        self._released.set()
        self._released = trio.Event()

    async def shut(self) -> None:
        """Refuse new connections from now on, as where nobody listens; those there are stay."""
        await self._set_door(False)

    async def listen(self) -> None:
        """Accept connections again, on the same port."""
        await self._set_door(True)

    async def _set_door(self, wanted: bool) -> None:
        self._door_open = wanted
        if self._listening is not None and not wanted:
            self._listening.cancel(reason="the proxy was told to shut its door")
        self._knock()
        while (self._listening is not None) is not wanted:
            await self._changed.wait()

    def _knock(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started when it listens at `port`."""
        with await _bound(0) as place:  # keeps the number while nobody listens there
            self.port = place.getsockname()[1]
            async with trio.open_nursery() as connections:
                while True:
                    while not self._door_open:
                        await self._changed.wait()
                    with await _bound(self.port) as door, trio.CancelScope() as self._listening:
                        door.listen()
                        self._knock()
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        listener = trio.SocketListener(door)
                        await trio.serve_listeners(self._serve, [listener], handler_nursery=connections)
                    self._listening = None
                    self._knock()

    # -- one connection

    async def _serve(self, client: trio.SocketStream) -> None:
        """Serve a connection until either side ends it."""
        async with client:
            if self.away:
                return
            with trio.CancelScope() as connection, suppress(*_ENDED):
                self._connections.add(connection)
                try:
                    await (self._relay(client) if self._faults is None else self._serve_http(client))
                finally:
                    self._connections.discard(connection)
            if connection.cancelled_caught:
                _reset(client)

    async def _relay(self, client: trio.SocketStream) -> None:
        self.seen += 1
        server = await self._dial()
        async with server, trio.open_nursery() as directions:
            directions.start_soon(self._pass, client, server)
            directions.start_soon(self._pass, server, client)

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        """One direction, until its source ends. A broken one ends the other direction too."""
        try:
            while chunk := await source.receive_some(_CHUNK):
                await self._wait()
                await target.send_all(chunk)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await source.aclose()
            await target.aclose()

    async def _wait(self) -> None:
        await trio.sleep(self.delay_s)
        await self._open.wait()

    async def _dial(self) -> trio.SocketStream:
        try:
            return await trio.open_tcp_stream(*self._upstream)
        except OSError as fault:
            raise trio.BrokenResourceError(f"nobody listens at {self._upstream}") from fault

    # -- with a plan

    async def _serve_http(self, client: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        while (request := await read_request(client, connection)) is not None:
            self.seen += 1
            fault = self._next_fault(request)
            await self._wait()
            answer = await self._meet(fault, request)
            if answer is None:
                _reset(client)
                return
            await self._wait()
            for event in answer:
                if (sent := connection.send(event)) is not None:
                    await client.send_all(sent)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    def _next_fault(self, request: Request) -> Fault | None:
        assert self._faults is not None
        for fault in self._faults:
            return fault
        if self.rule is None:
            return None
        return self.rule(request.head.method.decode(), request.head.target.decode("latin-1"))

    async def _meet(self, fault: Fault | None, request: Request) -> list[h11.Event] | None:
        """The answer to be given; None for a connection cut."""
        match fault:
            case None:
                return events(*await self._carry(request))
            case Delay(before_s, after_s):
                await trio.sleep(before_s)
                answer = await self._carry(request)
                await trio.sleep(after_s)
                return events(*answer)
            case CutBefore():
                return None
            case CutAfter():
                await self._carry(request)
                return None
            case Swallow():
                await self._carry(request)
                await trio.sleep_forever()
            case Answer(status, after_success, body):
                if after_success:
                    await self._carry(request)
                length = (b"content-length", str(len(body)).encode())
                return events(h11.Response(status_code=status, headers=[length]), body)
            case LandLate():
                self._late.append(request)
            case Hold():
                self.held += 1
                try:
                    await self._released.wait()
                finally:
                    self.held -= 1
                return events(*await self._carry(request))
        return None

    async def _carry(self, request: Request) -> tuple[h11.Response, bytes]:
        """Have the server carry out a request, on a connection of its own. Raises BrokenResourceError."""
        connection = h11.Connection(h11.CLIENT)
        async with await self._dial() as server:
            for event in events(request.head, request.body):
                if sent := connection.send(event):
                    await server.send_all(sent)
            head: h11.Response | None = None
            body = b""
            while not isinstance(event := await next_event(server, connection), h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif not isinstance(event, h11.InformationalResponse):
                    raise trio.BrokenResourceError("the server ended before its answer did")
        assert head is not None
        return head, body


@asynccontextmanager
async def open_proxy(
    upstream: tuple[str, int], *, faults: Iterable[Fault | None] | None = None
) -> AsyncIterator[Proxy]:
    """A proxy in front of this host and port, on a free port of 127.0.0.1, for as long as the block runs.

    `faults`: see `Proxy`; None is a proxy for bytes, an empty plan one for HTTP. It runs in the caller's event loop,
    which must not be blocked by the client that it serves.
    """
    proxy = Proxy(upstream, faults)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel(reason="the block of the proxy has ended")


async def _bound(port: int) -> trio.socket.SocketType:
    """A socket at this port of 127.0.0.1 at which nobody listens yet."""
    place = trio.socket.socket()
    place.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
    await place.bind(("127.0.0.1", port))
    return place


def _reset(client: trio.SocketStream) -> None:
    """Let the peer meet a reset and no orderly end, as a cut gives it."""
    client.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
