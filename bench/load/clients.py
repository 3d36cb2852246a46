"""Connections to one server, each with one request under way at most and kept for the next: one thread, no framework.

What it costs a request is about 30 µs of one core.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import httptools

FAILED = 0  # instead of a status: no answer came that is HTTP
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of request `number`. `at`: when it was known, in ns of the monotonic clock. `run_ms`: how long the
    server computed, where it says so."""

    number: int
    status: int
    at: int
    run_ms: float | None = None


class Clients:
    """As many connections as are needed to send each request when it is due."""

    def __init__(self, host: str, port: int, ended: Callable[[Ended], None]) -> None:
        """`ended` is called from `wait`, once for every request."""
        self._place = (host, port)
        self._ended = ended
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self.under_way = 0

    def ask(self, number: int, request: bytes) -> None:
        """Send it now, on a connection of those that are idle or on a new one; does not wait for anything."""
        self.under_way += 1
        while self._idle:
            connection = self._idle.pop()  # the last one used: the fewest are kept busy
            if not connection.closed:
                connection.begin(number, request)
                return
        try:
            connection = _Connection(self._place, self._poll)
        except OSError:
            self._end(Ended(number, FAILED, time.monotonic_ns()))
            return
        self._open[connection.number] = connection
        connection.begin(number, request)

    def wait(self, seconds: float) -> None:
        """Until something came, or the time is over; take what came."""
        if seconds > 0:
            # To the microsecond: epoll's own timeout counts milliseconds, and rounds them up.
            select.select([self._poll], [], [], seconds)
        for number, event in self._poll.poll(0):
            connection = self._open[number]
            found = connection.on(event)
            if connection.closed:
                del self._open[number]
            if found is not None:
                if not connection.closed:
                    self._idle.append(connection)
                self._end(found)

    def close(self) -> None:
        """Hang up, whatever is under way."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        self._idle.clear()
        self._poll.close()

    def _end(self, found: Ended) -> None:
        self.under_way -= 1
        self._ended(found)


class _Connection:
    __slots__ = (
        "_asked",
        "_complete",
        "_connecting",
        "_kept",
        "_parser",
        "_poll",
        "_run_ms",
        "_sock",
        "_unsent",
        "_wanted",
        "closed",
    )

    def __init__(self, place: tuple[str, int], poll: select.epoll) -> None:
        """Begin to connect. Raises OSError."""
        self._sock = socket.socket()
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fault = self._sock.connect_ex(place)
        if fault not in (0, errno.EINPROGRESS):
            self._sock.close()
            raise OSError(fault, "cannot connect")
        self._connecting = True
        self._poll = poll
        self._parser = httptools.HttpResponseParser(self)
        self._asked: int | None = None
        self._unsent = b""
        self._complete = self._kept = False
        self._run_ms: float | None = None
        self.closed = False
        self._wanted = select.EPOLLOUT
        poll.register(self._sock, self._wanted)

    @property
    def number(self) -> int:
        return self._sock.fileno()

    def begin(self, number: int, request: bytes) -> None:
        self._asked, self._unsent = number, request
        self._run_ms = None
        if not self._connecting:
            self._send()

    def on(self, event: int) -> Ended | None:
        """What was under way, if it is no more."""
        try:
            if event & select.EPOLLOUT:
                if self._connecting:
                    self._connecting = False
                    if fault := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        raise OSError(fault, "cannot connect")
                self._send()
                return None
            if content := self._sock.recv(_CHUNK):
                self._parser.feed_data(content)
                if not self._complete:
                    return None
        except BlockingIOError:
            return None
        except (OSError, httptools.HttpParserError):
            self._complete = False
        if self._complete and self._asked is not None:
            return self._answered()
        return self._lost()

    # -- of httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 16 and name.lower() == b"x-inference-time":
            self._run_ms = float(value)

    def on_message_complete(self) -> None:
        self._complete = True
        self._kept = self._parser.should_keep_alive()  # it forgets the message once this returns

    # -- inside

    def _answered(self) -> Ended:
        assert self._asked is not None
        found = Ended(self._asked, self._parser.get_status_code(), time.monotonic_ns(), self._run_ms)
        self._asked, self._complete = None, False
        if not self._kept:
            self.close()
        return found

    def _lost(self) -> Ended | None:
        self.close()
        return Ended(self._asked, FAILED, time.monotonic_ns()) if self._asked is not None else None

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # it is closed, which reading will tell
        wanted = select.EPOLLOUT if self._unsent else select.EPOLLIN
        if wanted != self._wanted:
            self._wanted = wanted
            self._poll.modify(self._sock, wanted)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._poll.unregister(self._sock)
            self._sock.close()
