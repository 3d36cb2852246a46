# Rule: nothing here awaits, reads a clock, or knows a socket.
"""Answers out of bytes: httptools' parser, the limits it has not, and what it lets pass and should not."""

from __future__ import annotations

from typing import NoReturn

import httptools

from sie.caller.limits import Limits

_CHUNK_OVERHEAD = 16  # bytes of framing for each one of body; chunks of one byte cost five


class _Stop(Exception):
    """Stops httptools; `Parser` knows why."""


class Parser:
    """The bytes of one connection, an answer at a time: `begin`, then `feed` until `complete` or a `fault`.

    `status` is 0 until the head is whole; then `headers` are too, their names in lower case. `pieces`: of the body, to
    be taken away. `reusable`, once complete: nothing speaks against another request on the connection.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._http = httptools.HttpResponseParser(self)
        self.begin(has_body=True)

    def begin(self, *, has_body: bool) -> None:
        """The next answer; `has_body`: not to a HEAD."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.complete = False
        self.reusable = False
        self.fault: str | None = None
        self._has_body = has_body
        self._ends_with_connection = False
        self._head = self._framing = self._content = 0

    def feed(self, received: bytes) -> None:
        """Take these bytes. What is wrong with them is in `fault` then, and nothing is raised."""
        in_head = not self.status
        try:
            self._http.feed_data(received)
        except httptools.HttpParserUpgrade:
            self.fault = "another protocol is spoken from there on"
        except httptools.HttpParserError as error:
            if self.complete:
                self.reusable = False  # what follows a whole answer was not asked for
            elif self.fault is None:
                self.fault = str(error)
        else:
            if not self.complete:
                self._count(len(received), in_head)

    def end(self) -> None:
        """The connection has ended."""
        if self._ends_with_connection:
            self.complete = True
        else:
            self.fault = "the connection has ended"

    # -- what httptools calls

    def on_message_begin(self) -> None:
        if self.complete:
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer
        self.headers.append((name.lower(), value.rstrip(b" \t")))
        if len(self.headers) > self._limits.headers:
            self._refuse("too many headers")

    def on_headers_complete(self) -> None:
        http = self._http
        status = http.get_status_code()
        if status < 200:
            if status == 101:
                self._refuse("another protocol is spoken from there on")
            self.headers = []  # an interim answer
            return
        version = http.get_http_version()
        if version not in ("1.1", "1.0") or status > 999:
            self._refuse("this is not HTTP/1.1")
        chunked = sized = upgrade = False
        size = 0
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            if name == b"content-length":
                sized = True
            elif name == b"transfer-encoding":
                if chunked or value.lower() != b"chunked" or version == "1.0":
                    self._refuse("a transfer encoding that is not known")
                chunked = True
            elif name == b"upgrade":
                upgrade = True
        if size > self._limits.head_bytes:
            self._refuse("headers that are too large")
        self.status = status
        self.reusable = version == "1.1" and not upgrade and http.should_keep_alive()
        self._ends_with_connection = not (chunked or sized)
        if not self._has_body:
            self.complete = True
            self.reusable = False  # httptools waits for a body here
            raise _Stop

    def on_body(self, piece: bytes) -> None:
        self._content += len(piece)
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True

    # -- limits

    def _count(self, received: int, in_head: bool) -> None:
        """Bound what httptools keeps for itself of one long header, and what it throws away between chunks."""
        if not self.status:
            self._head += received
            if self._head > self._limits.head_bytes:
                self.fault = "a head that is too large"
        elif not in_head:
            self._framing += received
            if self._framing > self._limits.head_bytes + self._content * (1 + _CHUNK_OVERHEAD):
                self.fault = "a body of more framing than content"

    def _refuse(self, why: str) -> NoReturn:
        self.fault = why
        raise _Stop
