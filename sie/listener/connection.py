# Rule: whatever one client does, or fails to do, ends its own connection at most, and within a deadline.
"""One client's connection: its socket, who waits on it, and for how long."""

from __future__ import annotations

import logging
import math
import socket
import struct
import time
from typing import TYPE_CHECKING

import trio

from sie.listener.exchange import Exchange
from sie.listener.faults import log_fault
from sie.listener.head import plain_answer
from sie.listener.limits import Limits
from sie.listener.parser import Fault, Parser, Request
from sie.listener.patience import Patience
from sie.listener.watch import Watch
from sie.listener.websocket import WebSocket

if TYPE_CHECKING:
    from sie.listener.asgi import ASGIApp

log = logging.getLogger(__name__)

_RESET = struct.pack("ii", 1, 0)


class Connection:
    """Made for each accepted socket. `run` is its life: one task, in which the app's requests are answered too.

    `ready`, `sweep`, `finish` and `cut` are called from other tasks, and only wake or cancel that one.
    """

    def __init__(
        self,
        sock: socket.socket,
        client: tuple[str, int] | None,
        address: tuple[str, int] | None,
        *,
        app: ASGIApp,
        limits: Limits,
        watch: Watch,
        server: bytes,
    ) -> None:
        self.app = app
        self.limits = limits
        self.server = server
        self.client = client
        self.address = address
        self.parser = Parser(limits)
        # The peer has ended its sending, or the connection is broken. Nothing of worth is sent any more.
        self.gone = False
        self.finishing = False
        self._sock = sock
        self._watch = watch
        self._scope = trio.CancelScope()
        self._exchange: Exchange | WebSocket | None = None
        self._readable = False
        self._parked: trio.lowlevel.Task | None = None
        self._wants_bytes = False
        self._deadline = math.inf
        self._patience = Patience.IDLE
        self._write_deadline = math.inf
        self._writing = trio.Lock()

    # -- what others do to it

    def ready(self, gone: bool) -> None:
        """There are bytes, or (`gone`) no more will come."""
        self._readable = True
        self.gone = self.gone or gone
        waited = self._parked is not None
        if waited and (gone or self._wants_bytes):
            self.wake()
        elif self._exchange is not None:
            try:
                self._exchange.peek()
            except Exception as error:  # it is the watch's task, and everybody's
                log_fault(log, "bytes could not be taken", error)
                self.cut("a fault of ours")
        if gone and self._exchange is not None:
            if waited or self._exchange.hears_of_the_end:
                self.leave()
            else:
                self._scope.cancel(reason="the client has gone")

    def sweep(self, now: float) -> None:
        """Look at the deadlines."""
        if now >= self._write_deadline:
            self.cut("the client takes no more")
        elif now >= self._deadline:
            self._deadline = math.inf
            if self._patience in (Patience.HEAD, Patience.BODY):
                self.parser.refuse(Fault(408, "The request did not arrive in time"))
                self.wake()
            else:
                self.cut(self._patience.value)

    def finish(self) -> None:
        """The listener stops: close if idle. A request in hand is answered first, and its answer says so."""
        self.finishing = True
        if self._exchange is not None:
            self._exchange.finish()
        elif self._patience is not Patience.LINGER:
            self.wake()

    def cut(self, why: str) -> None:
        """Now, whatever is under way."""
        self._scope.cancel(reason=why)

    def wake(self) -> None:
        """Whoever waits in `park` is to look again."""
        task, self._parked = self._parked, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    # -- its life

    async def run(self) -> None:
        """Serve until either side is done; then the socket is closed. Raises nothing but Cancelled."""
        self._watch.add(self._sock, self.ready)
        try:
            with self._scope:
                await self._serve()
        except* Exception as errors:  # of an app that was cancelled; what is left of the group is Cancelled
            log_fault(log, "an app failed when it was cancelled", errors)
        finally:
            self._watch.remove(self._sock)
            if self._exchange is not None and self._exchange.ends_with_connection:
                # Closed in order, the connection would say that the body was whole.
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def _serve(self) -> None:
        while (request := await self._next_request()) is not None:
            self._exchange = (WebSocket if request.upgrade == b"websocket" else Exchange)(self, request)
            again = await self._exchange.run()
            self._exchange = None
            if not again:
                break
        else:
            fault = self.parser.fault
            if fault is None:
                return
            await self.write(self.plain(fault))
        await self._linger()

    async def _next_request(self) -> Request | None:
        """None if there is no other, or nobody to answer it to. Cancelled: nothing is lost."""
        parser, parked = self.parser, False
        if not parser.requests:
            self._wait(*self._for_head() if parser.in_head else (Patience.IDLE, self.limits.keep_alive_s))
        while not parser.requests:
            if parser.fault is not None or self.finishing:
                return None
            if not self._readable:
                parked = True
                await self.park(for_bytes=True)
            elif (received := self.receive()) is not None:
                if not received:
                    return None
                parser.feed(received)
                if self._patience is Patience.IDLE and not parser.requests:
                    self._wait(*self._for_head())
        self._deadline = math.inf
        if not parked:  # a client that sends without pause would keep all others waiting
            await trio.lowlevel.checkpoint()
        return None if self.finishing or self.gone else parser.requests.popleft()

    async def _linger(self) -> None:
        """Say that we are done, and take what is still under way."""
        if self.gone:
            return
        self._wait(Patience.LINGER, self.limits.linger_s)
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        while True:
            received = self.receive()
            if received is None:
                await self.park(for_bytes=True)
            elif received:
                await trio.lowlevel.checkpoint()
            else:
                return

    # -- what an exchange does with it

    async def park(self, *, for_bytes: bool) -> None:
        """Until something happens: bytes, if asked for, or the peer's end, or `wake`."""
        if self._parked is not None:
            raise RuntimeError("two tasks of an app receive at once")
        self._parked = trio.lowlevel.current_task()
        self._wants_bytes = for_bytes
        await trio.lowlevel.wait_task_rescheduled(self._unpark)

    async def more_of_body(self, patience_s: float) -> float:
        """Feed the parser with what comes next, or return with a fault in it. Returns the seconds that it took."""
        received = self.receive() if self._readable else None
        if received is not None:
            self.parser.feed(received)
            await trio.lowlevel.checkpoint()
            return 0.0
        began = trio.current_time()
        self._wait(Patience.BODY, patience_s)
        try:
            await self.park(for_bytes=True)
        finally:
            if self._patience is Patience.BODY:
                self._deadline = math.inf
        if self._readable and (received := self.receive()):
            self.parser.feed(received)
        return trio.current_time() - began

    def receive(self, most_bytes: int | None = None) -> bytes | None:
        """What is there; None if nothing is, and b"" at the end."""
        most_bytes = most_bytes or self.limits.read_bytes
        try:
            received = self._sock.recv(most_bytes)
        except BlockingIOError:
            self._readable = False
            self._watch.drained(self._sock)
            return None
        except OSError:
            received = b""
        if not received:
            self.gone = True
        elif len(received) < most_bytes and not self.gone:
            # Were the end of the stream there too, it has come as one event with these bytes, and no other will.
            self._readable = False
            self._watch.drained(self._sock)
        return received

    async def write(self, content: bytes) -> None:
        """Returns when the kernel has it all, or at once if the client has gone. Cancelled in the midst of it, the
        connection is cut."""
        sent = self.begin_write(content)
        if sent < len(content):
            await self.finish_write(content, sent)

    def begin_write(self, content: bytes) -> int:
        """How much was sent without waiting. The rest is to be given to `finish_write` at once: most answers have
        none, and are spared a coroutine."""
        return 0 if self._writing.locked() else self._send(content)

    async def finish_write(self, content: bytes, sent: int) -> None:
        """As `write` does, for what is left."""
        if self._writing.locked():
            await self._writing.acquire()
        else:
            self._writing.acquire_nowait()
        try:
            rest = memoryview(content)[sent:]
            while rest and not self.gone:
                self._write_deadline = trio.current_time() + self.limits.write_stall_s
                await trio.lowlevel.wait_writable(self._sock)
                rest = rest[self._send(rest) :]
        except trio.Cancelled:
            self.cut("a message was left unfinished")
            raise
        finally:
            self._write_deadline = math.inf
            self._writing.release()

    def write_now(self, content: bytes) -> None:
        """A few bytes that may be lost if the client does not read, though never in part."""
        if not self._writing.locked() and 0 < self._send(content) < len(content):
            self.cut("a message was left unfinished")

    def plain(self, fault: Fault, *headers: tuple[bytes, bytes], method: str = "GET") -> bytes:
        """Our own answer."""
        return plain_answer(
            fault.status, fault.text, now=int(time.time()), server=self.server, method=method, headers=headers
        )

    def leave(self) -> None:
        """The app has been told of the end."""
        if self._patience is not Patience.LEAVING:
            self._wait(Patience.LEAVING, self.limits.leave_s)

    def _send(self, content: bytes | memoryview) -> int:
        if self.gone:
            return len(content)
        try:
            return self._sock.send(content)
        except BlockingIOError:
            return 0
        except OSError:
            self.gone = True
            return len(content)

    def _unpark(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _for_head(self) -> tuple[Patience, float]:
        return Patience.HEAD, self.limits.head_s

    def _wait(self, patience: Patience, within_s: float) -> None:
        self._patience = patience
        self._deadline = trio.current_time() + within_s
