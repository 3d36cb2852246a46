# Rule: a connection is used again only if the last request and its answer were both over, with nothing left.
"""Requests over connections that are kept: as many to each origin as there are requests at a time."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from functools import cached_property

import trio

from sie.caller.answer import Answer
from sie.caller.connection import Body, Connection
from sie.caller.faults import Unreachable
from sie.caller.head import write_head
from sie.caller.limits import Limits
from sie.caller.origin import Origin
from sie.caller.wire import Wire, open_wire

# How often deadlines are looked at: each may be overrun by so much, or by so small a part of itself.
_SWEEP_S = 0.5
_SWEEPS = 8


class Caller:
    """Asks servers. It holds connections: whoever makes one closes it, and runs `sweep` as long as it is used."""

    def __init__(self, limits: Limits = Limits(), tls: ssl.SSLContext | None = None) -> None:  # noqa: B008 — frozen
        """`tls`: whom to trust; None: whom the system does."""
        self._limits = limits
        self._given = tls
        self._idle: dict[Origin, list[Connection]] = {}  # of each, the last used at the end
        self._open: set[Connection] = set()
        self._closed = False

    @property
    def connections(self) -> int:
        """Open now, idle ones included."""
        return len(self._open)

    async def ask(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: Body = b"",
        *,
        length: int | None = None,
        fresh: bool = False,
    ) -> Answer:
        """The answer, as soon as its head is here. Interim answers (1xx) are passed over, redirects are answers.

        `headers`: without Host and those of the body's framing. A body that is not bytes is sent as it comes, of
        `length` bytes, or in chunks; it stays whoever's it is to close. An answer that begins before the body is sent
        ends the sending: nothing more is taken of it. `fresh`: not over a connection that was used before.

        Raises Unreachable, Stale and Silent, what iterating the body raises, and ValueError for what can be no request.
        Cancelled: it hangs up.
        """
        if isinstance(body, bytes):
            length = len(body)
        head = write_head(method, target, origin.authority, headers, length=length)
        connection = None if fresh else self._take(origin)
        if connection is None:
            connection = await self._connect(origin)
        try:
            await connection.begin(head, body, length, has_body=method != b"HEAD")
        except BaseException:
            self._drop(connection)
            raise
        return Answer(connection, origin, self._let_go)

    async def sweep(self) -> None:
        """Look after deadlines, and close what nobody uses any more. Until cancelled."""
        limits = self._limits
        every_s = max(0.01, min(_SWEEP_S, min(limits.silence_s, limits.keep_alive_s) / _SWEEPS))
        while True:
            await trio.sleep(every_s)
            now = trio.current_time()
            for connection in tuple(self._open):
                connection.sweep(now)
            for origin, idle in list(self._idle.items()):
                for connection in [one for one in idle if not self._is_good(one)]:
                    idle.remove(connection)
                    self._drop(connection)
                if not idle:
                    del self._idle[origin]

    def close(self) -> None:
        """Hang up on all, at once. Who is waiting gets an Unreachable or a BrokenOff, and so does who asks then."""
        self._closed = True
        self._idle.clear()
        for connection in list(self._open):
            self._drop(connection)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given if self._given is not None else ssl.create_default_context()

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if self._is_good(connection):
                return connection
            self._drop(connection)
        return None

    def _is_good(self, connection: Connection) -> bool:
        return trio.current_time() - connection.idle_since < self._limits.keep_alive_s and connection.is_silent()

    async def _connect(self, origin: Origin) -> Connection:
        wire: Wire | None = None
        try:
            with trio.move_on_after(self._limits.connect_s):
                wire = await open_wire(origin, self._tls if origin.tls else None)
        except (OSError, UnicodeError) as fault:
            raise Unreachable(str(fault) or type(fault).__name__) from None
        if wire is None:
            raise Unreachable(f"no connection within {self._limits.connect_s:g} s")
        connection = Connection(wire, self._limits)
        if self._closed:
            connection.close()
            raise Unreachable("closed")
        self._open.add(connection)
        return connection

    def _let_go(self, origin: Origin, connection: Connection) -> None:
        if connection.reusable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.setdefault(origin, []).append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()
