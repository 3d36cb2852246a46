"""A worker's /ws/status: a WebSocket client that only listens (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from spec.lines import Closed, Lines

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PONG = 10


class NoStatus(Exception):
    """The text says what became of the connection."""


class StatusMessages:
    """What one worker says."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def next(self, *, deadline: float) -> str | None:
        """The next message; None if none has come by then. Raises NoStatus."""
        message = b""
        try:
            while True:
                last, kind, content = self._frame(deadline)
                match kind:
                    case 0 | 1 | 2:  # continued, text, binary
                        message += content
                        if last:
                            return message.decode("utf-8", "backslashreplace")
                    case 8:  # close
                        raise NoStatus("the worker has closed /ws/status")
                    case 9:  # ping
                        self._lines.send(_masked(_PONG, content))
        except TimeoutError:
            return None
        except (Closed, OSError) as fault:
            raise NoStatus(f"/ws/status: {fault}") from None

    def _frame(self, deadline: float) -> tuple[bool, int, bytes]:
        first, second = self._lines.exactly(2, deadline)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self._lines.exactly(2 if size == 126 else 8, deadline))
        if second & 0x80:
            raise Closed("a server does not mask what it sends")
        return bool(first & 0x80), first & 0x0F, self._lines.exactly(size, deadline)


@contextmanager
def open_status(worker: str, authorization: str | None, *, deadline: float) -> Iterator[StatusMessages]:
    """`worker`: its base URL, http or https. Raises NoStatus."""
    parts = urlsplit(worker)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connected = socket.create_connection((host, port), timeout=max(0.1, deadline - time.monotonic()))
        if parts.scheme == "https":
            connected = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
    except OSError as fault:
        raise NoStatus(f"the worker at {worker}: {fault}") from None
    lines = Lines(connected)
    try:
        _shake_hands(lines, f"{parts.path.rstrip('/')}/ws/status", f"{host}:{port}", authorization, deadline)
    except (OSError, Closed) as fault:
        lines.close()
        raise NoStatus(f"/ws/status: {fault}") from None
    try:
        yield StatusMessages(lines)
    finally:
        lines.close()


def _shake_hands(lines: Lines, path: str, host: str, authorization: str | None, deadline: float) -> None:
    key = base64.b64encode(os.urandom(16))
    wanted = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    asked = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    asked += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]
    if authorization is not None:
        asked.append(f"Authorization: {authorization}")
    lines.send("\r\n".join([*asked, "", ""]).encode())
    said = lines.line(deadline)
    if b" 101" not in said:
        raise Closed(said.decode(errors="replace"))
    accepted = False
    while line := lines.line(deadline):
        name, _, value = line.partition(b":")
        accepted |= name.lower() == b"sec-websocket-accept" and value.strip() == wanted
    if not accepted:
        raise Closed("what answers is no WebSocket")


def _masked(kind: int, content: bytes) -> bytes:
    """One frame of a client, of which only pongs are sent: at most 125 bytes."""
    mask = os.urandom(4)
    hidden = bytes(one ^ mask[index % 4] for index, one in enumerate(content))
    return bytes([0x80 | kind, 0x80 | len(content)]) + mask + hidden
