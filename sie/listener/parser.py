# Rule: nothing here awaits, reads a clock, or knows a socket.
"""Requests out of bytes: httptools' parser, the limits it has not, and what it lets pass and should not."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import unquote

import httptools

from sie.listener.limits import Limits

_CHUNK_OVERHEAD = 16  # bytes of framing for each one of body; chunks of one byte cost five
_SINGLE = (b"host", b"transfer-encoding", b"content-length", b"expect")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a request, as the status and the text of its answer."""

    status: int
    text: str


class Request:
    """One request whose head is whole. Its body's `pieces` and `complete` follow as bytes are fed."""

    __slots__ = (
        "complete",
        "expects",
        "headers",
        "keep_alive",
        "method",
        "path",
        "pieces",
        "query",
        "raw_path",
        "upgrade",
        "version",
    )

    def __init__(self, method: str, target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.version = version
        self.headers = headers
        self.raw_path, _, self.query = target.partition(b"?")
        path = self.raw_path.decode("ascii")
        self.path = unquote(path) if "%" in path else path
        self.keep_alive = True
        self.expects = False  # a client that sends its body when it is told to
        self.upgrade = b""
        self.pieces: list[bytes] = []
        self.complete = False


class _Refused(Exception):
    """Stops httptools; `Parser.fault` says why."""


class Parser:
    """The bytes of one connection. `feed` fills `requests`; after a `fault` nothing more is read.

    Requests before a fault are whole and are to be answered first. The last one may be incomplete: then the fault is
    in its body.
    """

    def __init__(self, limits: Limits) -> None:
        self.requests: deque[Request] = deque()
        self.fault: Fault | None = None
        # Bytes after the head of a request for a WebSocket; with it, HTTP is over.
        self.after_upgrade: bytes | None = None
        # Between the first byte of a head and its last.
        self.in_head = False
        self._most_target = limits.request_line_bytes
        self._most_head = limits.head_bytes
        self._most_headers = limits.headers
        self._ended = False
        self._current: Request | None = None
        self._begun = 0
        self._large = False
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._said: dict[bytes, bytes] = {}
        self._unfinished = self._framing = self._content = 0
        self._http = httptools.HttpRequestParser(self)

    def feed(self, received: bytes) -> None:
        """Take these bytes. What is wrong with them is in `fault` then, and nothing is raised."""
        while received and not self._ended:
            self._large = len(received) > self._most_head or self.in_head
            # Whose bytes these are can be told if none but one request is in them.
            self._begun = 1 if self.in_head or self._current is not None else 0
            try:
                self._http.feed_data(received)
            except httptools.HttpParserUpgrade as stop:
                received = received[stop.args[0] :]
                self._upgrade(received)
            except httptools.HttpParserError as error:
                # An error raised in a callback has been noted there.
                self._end(self.fault or Fault(400, str(error)))
            else:
                if self._begun == 1:
                    self._count(len(received))
                return

    def refuse(self, fault: Fault) -> None:
        """No more of this connection's bytes: for a reason that is not in them."""
        self._end(fault)

    def on_message_begin(self) -> None:
        self.in_head = True
        self._begun += 1
        self._target = b""
        self._headers = []
        self._unfinished = 0

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        if len(self._target) > self._most_target:
            self._refuse(414, "The request's target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the head, or a trailer, which is counted and not asked for."""
        self._headers.append((name, value))
        if len(self._headers) > self._most_headers:
            self._refuse(431, "The request has too many headers")

    def on_headers_complete(self) -> None:
        self.in_head = False
        http = self._http
        headers = [(name.lower(), value.rstrip(b" \t")) for name, value in self._headers]
        self._said = said = dict(headers)
        if len(said) != len(headers):
            self._refuse_doubles([name for name, _ in headers])
        if self._large and sum(len(name) + len(value) + 4 for name, value in headers) > self._most_head:
            self._refuse(431, "The request's headers are too large")
        version = http.get_http_version()
        if version not in ("1.1", "1.0"):
            self._refuse(505, "HTTP/1.1 is spoken here")
        if b"host" not in said and version == "1.1":
            self._refuse(400, "The header host is missing")
        method = http.get_method().decode("ascii")
        if method == "CONNECT":
            self._refuse(501, "This is no proxy")
        if b"transfer-encoding" in said and (version == "1.0" or said[b"transfer-encoding"].lower() != b"chunked"):
            self._refuse(501, "No transfer encoding but chunked is known, and that in HTTP/1.1")
        target = self._target
        request = Request(method, target if target[:1] == b"/" else self._origin_form(), version, headers)
        request.keep_alive = http.should_keep_alive()
        if b"expect" in said:
            if said[b"expect"].lower() != b"100-continue":
                self._refuse(417, "Nothing can be expected but 100-continue")
            request.expects = version == "1.1"
        if b"upgrade" in said and http.should_upgrade():
            request.upgrade = said[b"upgrade"].lower()
        self._framing = self._content = 0
        self._current = request
        self.requests.append(request)

    def on_body(self, piece: bytes) -> None:
        assert self._current is not None
        self._content += len(piece)
        self._current.pieces.append(piece)

    def on_message_complete(self) -> None:
        request, self._current = self._current, None
        assert request is not None
        if request.upgrade and (b"content-length" in self._said or b"transfer-encoding" in self._said):
            # httptools stops before its body, and what follows would be read as a request.
            request.keep_alive = False
            request.upgrade = b""
        request.complete = True

    def _count(self, received: int) -> None:
        """Bound what httptools keeps for itself of one long header, and what it throws away between chunks."""
        if self.in_head:
            self._unfinished += received
            if self._unfinished > self._most_head:
                self._end(Fault(431, "The request's headers are too large"))
        elif self._current is not None:
            self._framing += received
            if self._framing > self._most_head + _CHUNK_OVERHEAD * self._content:
                self._end(Fault(400, "A body of more framing than content"))

    def _origin_form(self) -> bytes:
        target = self._target
        if target == b"*":
            return target
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            self._refuse(400, "The request's target is none")
        path: bytes = url.path or b"/"
        return path + b"?" + url.query if url.query else path

    def _upgrade(self, rest: bytes) -> None:
        last = self.requests[-1]
        if last.upgrade == b"websocket":
            self.after_upgrade = rest
            self._ended = True
        elif not last.keep_alive:
            self._end(None)
        else:  # another protocol, which we do not take up: the request stands as it is
            self._http = httptools.HttpRequestParser(self)

    def _refuse_doubles(self, names: list[bytes]) -> None:
        for name in _SINGLE:
            if names.count(name) > 1:
                self._refuse(400, f"Two headers {name.decode()}")

    def _refuse(self, status: int, text: str) -> NoReturn:
        self.fault = Fault(status, text)
        raise _Refused

    def _end(self, fault: Fault | None) -> None:
        self._ended = True
        last_says_close = bool(self.requests) and self.requests[-1].complete and not self.requests[-1].keep_alive
        self.fault = None if last_says_close else fault
