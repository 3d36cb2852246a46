"""HTTP, as much as the cases need: one connection a request, every wait bounded."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from spec.answer import Answer
from spec.request import Request

_MOST_BYTES = 32 * 1024 * 1024
_AT_ONCE = 64 * 1024
_GRACE_S = 0.25  # for the timeout proper to come first


class NoAnswer(Exception):
    """The text says what became of the request instead."""


def send(base: str, request: Request, *, deadline: float) -> Answer:
    """Send it to a base URL, `http://host:port/prefix`; `deadline` by time.monotonic(). Raises NoAnswer."""
    began = time.monotonic()
    until = min(deadline, began + request.patience_s)
    if until <= began:
        raise NoAnswer("no time was left to send it; --within gives a run more")
    connection, prefix = _connection(base, until - began)
    try:
        connection.connect()
        with _cut_off(connection.sock, until - time.monotonic() + _GRACE_S):
            connection.putrequest(request.method, prefix + request.target, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value.encode())
            if request.body is not None or request.method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(request.body or b"")))
            # By itself: http.client lets go of it when the answer says that the connection ends.
            connected = connection.sock
            _send(connection, request.body)
            response = connection.getresponse()
            body = b"".join(_pieces(connected, response, request, until))
    except (OSError, http.client.HTTPException, ValueError) as fault:
        seconds = time.monotonic() - began
        raise NoAnswer(f"no answer after {seconds:.2f} s: {type(fault).__name__}: {fault}") from None
    finally:
        connection.close()
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return Answer(status=response.status, headers=headers, body=body, seconds=time.monotonic() - began)


def _connection(base: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s), parts.path.rstrip("/")


@contextmanager
def _cut_off(connected: socket.socket, after_s: float) -> Iterator[None]:
    """A timeout counts from byte to byte, so a server that sends one now and then is cut off as well."""

    def cut() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(after_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _send(connection: http.client.HTTPConnection, body: bytes | None) -> None:
    """A server that refuses a body may answer and hang up before it has read all of it: the answer counts."""
    connection.endheaders()
    if body:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(body)


def _pieces(
    connected: socket.socket, response: http.client.HTTPResponse, request: Request, until: float
) -> Iterator[bytes]:
    """The body as it comes; up to where `request.until` is found, or time is over, if that is asked for."""
    size, seen = 0, b""
    while size < _MOST_BYTES:
        try:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer did not end")
            connected.settimeout(left)
            piece = response.read1(_AT_ONCE)
        except TimeoutError:
            if request.until is not None:
                return
            raise
        if not piece:
            if response.length:
                raise ConnectionError(f"the connection ended {response.length} bytes before the answer did")
            return
        size += len(piece)
        yield piece
        if request.until is not None:
            seen += piece
            if re.search(request.until, seen.decode("utf-8", "backslashreplace")):
                return
    raise ValueError(f"the answer is above {_MOST_BYTES} bytes")
