# Rule: whatever one server does, or fails to do, ends its own connection at most, and within a deadline.
"""One connection to a server: a request goes out, its answer comes in, one at a time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Callable

import trio

from sie.caller.faults import BrokenOff, CallFault, Silent, Stale, Unreachable
from sie.caller.limits import Limits
from sie.caller.parser import Parser
from sie.caller.wire import Wire

Body = bytes | AsyncIterable[bytes]

_AT_ONCE = 64 * 1024  # of a body that is here already, copied to be sent with its head


class Connection:
    """Made with an open wire. `idle_since`: on Trio's clock, when its last answer was whole.

    Whoever makes one calls `sweep` every so often: no wait has a scope of its own.
    """

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.parser = Parser(limits)
        self.idle_since = 0.0
        self._wire = wire
        self._limits = limits
        self._used = False
        self._sending = False
        self._sent = True  # the whole request
        self._deadline = math.inf  # on Trio's clock, for the server to do something
        self._late = False

    @property
    def reusable(self) -> bool:
        """Whether request and answer are both over, and another may follow."""
        return self.parser.complete and self.parser.reusable and self._sent

    def is_silent(self) -> bool:
        """Whether it is open, and nothing has come that nobody asked for."""
        return self._wire.is_silent()

    def close(self) -> None:
        """At once, whoever waits for it. Closed again, it changes nothing."""
        self._wire.close()

    def sweep(self, now: float) -> None:
        """Look at the deadline: whoever waits for the server beyond it gets Silent."""
        if now >= self._deadline:
            self._late = True
            self._wire.close()

    async def begin(self, head: bytes, body: Body, length: int | None, *, has_body: bool) -> None:
        """Send the request, and return when the head of the answer is here, in `parser`.

        `length`: what the head says of the body; None: it says that there are chunks. `has_body`: not a HEAD.
        A body that is not bytes is sent while the answer is waited for; one that comes first stops it for good.
        Raises Unreachable, Stale, Silent, and what iterating the body raises, ValueError if it has not that length.
        Unless it returns, cancelled or not, the connection is to be closed.
        """
        self.parser.begin(has_body=has_body)
        try:
            if not isinstance(body, bytes) or len(body) > _AT_ONCE:
                await self._send_beside(head, body, length)
            elif rest := self._send_now(head + body):
                await self._send_beside(rest, b"", 0)
            else:
                await self._until_head()
        finally:
            self._deadline = math.inf
        self._used = True

    async def more(self) -> None:
        """Read on in the body of the answer. Raises BrokenOff and Silent. Cancelled: nothing is lost."""
        parser = self.parser
        try:
            if (received := self._wire.receive_now(self._limits.read_bytes)) is None:
                received = await self._receive()
            else:
                await trio.lowlevel.checkpoint()  # a server that sends fast would keep all others waiting
        except OSError as fault:
            raise BrokenOff(str(fault) or type(fault).__name__) from None
        if received:
            parser.feed(received)
        else:
            parser.end()
        if parser.fault is not None:
            raise BrokenOff(parser.fault)

    # -- the request

    def _send_now(self, content: bytes) -> bytes:
        """What is left of it."""
        self._sent = True
        try:
            sent = self._wire.send_now(content)
        except OSError:  # what the server said before it closed is still to be read
            self._sent = False
            return b""
        return content[sent:]

    async def _send_beside(self, head: bytes, body: Body, length: int | None) -> None:
        """Send, and wait for the answer's head at the same time."""
        self._sent, self._sending = False, True
        failed: list[Exception] = []
        async with trio.open_nursery() as nursery:

            def fail(fault: Exception) -> None:
                failed.append(fault)
                nursery.cancel_scope.cancel(reason="the request cannot be sent to its end")

            nursery.start_soon(self._send, head, body, length, fail)
            try:
                await self._until_head()
            except CallFault as fault:
                failed.append(fault)
            nursery.cancel_scope.cancel(reason="the answer is here, or none will come")
        if failed:
            raise failed[0]

    async def _send(self, head: bytes, body: Body, length: int | None, fail: Callable[[Exception], None]) -> None:
        try:
            await self._send_all(memoryview(head))
            if isinstance(body, bytes):
                await self._send_all(memoryview(body))
            else:
                await self._send_pieces(body, length)
            self._sent = True
        except OSError:
            pass  # what the server said before it closed is still to be read
        except Exception as fault:
            fail(fault)
        finally:
            self._sending = False
            self._wait()

    async def _send_pieces(self, body: AsyncIterable[bytes], length: int | None) -> None:
        left = length
        async for piece in body:
            if left is not None:
                left -= len(piece)
                if left < 0:
                    break
                await self._send_all(memoryview(piece))
            elif piece:
                await self._send_all(memoryview(b"%x\r\n%b\r\n" % (len(piece), piece)))
        if left:
            raise ValueError("the body has not the length that was said")
        if length is None:
            await self._send_all(memoryview(b"0\r\n\r\n"))

    async def _send_all(self, rest: memoryview) -> None:
        rest = rest[self._wire.send_now(rest) :]
        while rest:
            self._wait()
            rest = rest[await self._wire.send(rest[:_AT_ONCE]) :]
        self._deadline = math.inf

    # -- the answer

    async def _until_head(self) -> None:
        parser = self.parser
        begun = False
        while not parser.status:
            try:
                received = await self._receive()
            except OSError as fault:
                raise self._unreachable(str(fault) or type(fault).__name__, begun=begun) from None
            if not received:
                raise self._unreachable("the connection has ended", begun=begun)
            begun = True
            parser.feed(received)
            if parser.fault is not None:
                raise Unreachable(parser.fault)

    async def _receive(self) -> bytes:
        if not self._sending:  # a server may wait for the whole request, however long that is under way
            self._wait()
        try:
            received = await self._wire.receive(self._limits.read_bytes)
        except OSError:
            if self._late:
                raise Silent("nothing was said, or taken, for too long") from None
            raise
        finally:
            if not self._sending:
                self._deadline = math.inf
        return received

    def _wait(self) -> None:
        self._deadline = trio.current_time() + self._limits.silence_s

    def _unreachable(self, why: str, *, begun: bool = False) -> Unreachable:
        return Stale(why) if self._used and not begun else Unreachable(why)
