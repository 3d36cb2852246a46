"""A socket that is read by lines and by bytes, every wait bounded."""

from __future__ import annotations

import socket
import time

_LONGEST = 8 * 1024 * 1024


class Closed(Exception):
    """The other side has closed the connection, or sends what is longer than anything it may send."""


class Lines:
    """Deadlines are by time.monotonic(). What was read in part when one passed is read on later."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._unread = b""

    def send(self, content: bytes) -> None:
        self._socket.settimeout(2)
        self._socket.sendall(content)

    def line(self, deadline: float) -> bytes:
        """The next one, without its end. Raises TimeoutError, Closed."""
        while b"\n" not in self._unread:
            self._receive(deadline)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.removesuffix(b"\r")

    def exactly(self, size: int, deadline: float) -> bytes:
        """So many bytes. Raises TimeoutError, Closed."""
        if size > _LONGEST:
            raise Closed(f"{size} bytes at once are not read here")
        while len(self._unread) < size:
            self._receive(deadline)
        content, self._unread = self._unread[:size], self._unread[size:]
        return content

    def close(self) -> None:
        self._socket.close()

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came in time")
        self._socket.settimeout(left)
        try:
            received = self._socket.recv(64 * 1024)
        except ConnectionError as fault:
            raise Closed(str(fault)) from None
        if not received or len(self._unread) > _LONGEST:
            raise Closed("the connection was closed")
        self._unread += received
