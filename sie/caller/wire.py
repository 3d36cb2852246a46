"""Bytes to and from one server: a plain socket, or TLS over one. Waiting is the caller's to bound."""

from __future__ import annotations

import socket
import ssl
from typing import Protocol

import trio

from sie.caller.origin import Origin


class Wire(Protocol):
    """An OSError of any of these means that the connection is broken, or was closed."""

    def send_now(self, content: bytes | memoryview) -> int:
        """How much was sent without waiting."""

    async def send(self, content: memoryview) -> int:
        """How much was sent, at least a byte. Cancelled: no one knows what was, and the wire is to be closed."""

    def receive_now(self, most: int) -> bytes | None:
        """What is there; None if nothing is, and b"" at the end."""

    async def receive(self, most: int) -> bytes:
        """What comes next, b"" at the end."""

    def is_silent(self) -> bool:
        """Whether it is open, and nothing has come that nobody asked for."""

    def close(self) -> None:
        """At once. Whoever waits in `send` or `receive` is told so by an OSError. Closed again, it changes nothing."""


class PlainWire:
    """A TCP connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._sock = socket.socket(fileno=stream.socket.detach())
        self._sock.setblocking(False)

    def send_now(self, content: bytes | memoryview) -> int:
        try:
            return self._sock.send(content)
        except BlockingIOError:
            return 0

    async def send(self, content: memoryview) -> int:
        while True:
            try:
                await trio.lowlevel.wait_writable(self._sock)
                return self._sock.send(content)
            except BlockingIOError:
                pass
            except trio.ClosedResourceError:
                raise ConnectionAbortedError("closed by us") from None

    def receive_now(self, most: int) -> bytes | None:
        try:
            return self._sock.recv(most)
        except BlockingIOError:
            return None

    async def receive(self, most: int) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                return self._sock.recv(most)
            except BlockingIOError:
                pass
            except trio.ClosedResourceError:
                raise ConnectionAbortedError("closed by us") from None

    def is_silent(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class TLSWire:
    """A TCP connection with TLS on it. `open_wire` has shaken hands."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._sock = stream.transport_stream.socket

    def send_now(self, content: bytes | memoryview) -> int:
        return 0

    async def send(self, content: memoryview) -> int:
        try:
            await self._stream.send_all(content)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as fault:
            raise _broken(fault) from None
        return len(content)

    def receive_now(self, most: int) -> bytes | None:
        return None

    async def receive(self, most: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(most))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as fault:
            raise _broken(fault) from None

    def is_silent(self) -> bool:
        # A session ticket is taken for bytes that nobody asked for, which costs a handshake and no more.
        return not self._sock.is_readable()

    def close(self) -> None:
        self._sock.close()  # without a farewell: whoever needs one has had the length of what was said


async def open_wire(origin: Origin, tls: ssl.SSLContext | None) -> Wire:
    """Connect. Raises OSError, and UnicodeError for a host that no name can be. Cancelled: nothing is left."""
    stream = await trio.open_tcp_stream(origin.host, origin.port)
    if tls is None:
        return PlainWire(stream)
    secure = trio.SSLStream(stream, tls, server_hostname=origin.host)
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError as fault:
        stream.socket.close()
        raise _broken(fault) from None
    except BaseException:
        stream.socket.close()
        raise
    return TLSWire(secure)


def _broken(fault: Exception) -> OSError:
    return ConnectionError(str(fault.__cause__ or fault) or type(fault).__name__)
