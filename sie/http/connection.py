# Rule: whatever one client does, or fails to do, ends its own connection at most, and within a deadline.
"""One client's connection: bytes between a Trio stream and hypercorn's HTTP/1.1, HTTP/2 and WebSocket protocols.

In the place of hypercorn's own TCPServer, which lets a protocol error out into the whole server, and waits for a
reader that has stalled for as long as it likes (hypercorn 0.18; tests/http/test_hostile_clients.py).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

log = logging.getLogger("sie.http")

READ_BYTES = 64 * 1024
WRITE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds. See Settings for what each is about."""

    keep_alive_s: float
    header_s: float
    write_stall_s: float
    linger_s: float


class Connection:
    """Made for each accepted stream; `run` is its life."""

    def __init__(
        self,
        stream: trio.SocketStream,
        *,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        patience: Patience,
    ) -> None:
        self._stream = stream
        self._app = app
        self._config = config
        self._context = context
        self._state = state
        self._patience = patience
        self._protocol: ProtocolWrapper
        # No request is being answered. While so, the deadline of _reading runs.
        self._idle = True
        self._request_begun = False
        self._reading = trio.CancelScope()
        self._writing = trio.Lock()
        self._lost = False

    async def run(self) -> None:
        """Serve until either side is done. Raises nothing but Cancelled."""
        try:
            await self._serve()
        except* OSError:
            pass  # the peer went away while we looked at the socket
        except* Exception as faults:
            # One line: a hostile client can bring these about at will.
            log.warning("a connection ended in a protocol error: %r", faults.exceptions)
        finally:
            await trio.aclose_forcefully(self._stream)

    def finish(self) -> None:
        """The server stops: close if idle. A request in work is answered first; its answer closes the connection."""
        if self._idle:
            self._reading.cancel(reason="the server stops and this connection is idle")

    def cut(self) -> None:
        """Drop the socket now. Whoever waits on it is woken; half a response may have been sent."""
        self._lost = True
        self._stream.socket.close()

    async def _serve(self) -> None:
        socket = self._stream.socket
        async with TaskGroup() as tasks:
            self._protocol = ProtocolWrapper(
                self._app,
                self._config,
                self._context,
                tasks,
                ConnectionState(self._state.copy()),
                False,
                parse_socket_addr(socket.family, socket.getpeername()),
                parse_socket_addr(socket.family, socket.getsockname()),
                self._send,
                "http/1.1",
            )
            await self._protocol.initiate()
            self._wait_for_request()
            with self._reading:
                await self._read()
            await self._protocol.handle(Closed())
        if not self._lost and not self._context.terminated.is_set():
            await self._linger()

    async def _read(self) -> None:
        """Until end of file, the end of patience, or the protocol's own decision to close."""
        while content := await self._receive():
            if self._idle and not self._request_begun:
                self._request_begun = True
                self._reading.deadline = trio.current_time() + self._patience.header_s
            await self._protocol.handle(RawData(content))
            if _is_overfull(self._protocol.protocol):
                return
            # hypercorn takes HTTP/2's preface for a request, and then no stream ever comes to say that it is over.
            protocol = self._protocol.protocol
            if isinstance(protocol, H2Protocol) and protocol.idle and not self._idle:
                self._wait_for_request()
        if not self._lost:
            await self._protocol.handle(RawData(b""))  # a request cut short is told so

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._lost = True
            return b""

    def _wait_for_request(self) -> None:
        if self._context.terminated.is_set():
            self._reading.cancel(reason="the server stops and this connection is idle now")
        self._idle = True
        self._request_begun = False
        self._reading.deadline = trio.current_time() + self._patience.keep_alive_s

    async def _send(self, event: Event) -> None:
        """What hypercorn's protocols call, from the tasks of requests and from the reading one."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._reading.cancel(reason="the protocol closes this connection")
        elif isinstance(event, Updated):
            if event.idle:
                self._wait_for_request()
            else:
                self._idle = False
                self._reading.deadline = math.inf

    async def _write(self, content: bytes) -> None:
        async with self._writing:
            for begin in range(0, 0 if self._lost else len(content), WRITE_BYTES):
                # Shielded, or a cancelled request would leave half a frame on a connection that others share.
                with trio.move_on_after(self._patience.write_stall_s, shield=True) as writing:
                    try:
                        await self._stream.send_all(memoryview(content)[begin : begin + WRITE_BYTES])
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        self._lost = True
                if self._lost or writing.cancelled_caught:
                    self._lost = True
                    self._reading.cancel(reason="the client takes no more")
                    return

    async def _linger(self) -> None:
        """Say that we are done, and read what is still under way: closing over it would reset the connection, and
        the client would lose an answer given before its body was read."""
        with trio.move_on_after(self._patience.linger_s):
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(READ_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


def _is_overfull(protocol: H11Protocol | H2Protocol) -> bool:
    """Whether a WebSocket message has outgrown its limit: hypercorn tells the peer so, and goes on collecting it."""
    streams = protocol.streams.values() if isinstance(protocol, H2Protocol) else (protocol.stream,)
    return any(isinstance(one, WSStream) and one.buffer.length > one.buffer.max_length for one in streams)
