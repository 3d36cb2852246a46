"""A NATS subscriber: the protocol's few lines, in the manner of one who only listens."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from spec.lines import Closed, Lines


class NatsFailed(Exception):
    """The text says what the server said, or what became of the connection."""


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    content: bytes

    @property
    def json(self) -> Any:
        """Its content, or the text of it where that is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return self.content.decode("utf-8", "backslashreplace")


class Subscriber:
    """One connection. Messages come in the order in which the server sent them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._subscriptions = 0
        self._heard: list[Message] = []

    def subscribe(self, subject: str, *, deadline: float) -> None:
        """Returns when the server knows. Raises NatsFailed."""
        self._subscriptions += 1
        self._lines.send(f"SUB {subject} {self._subscriptions}\r\nPING\r\n".encode())
        while (line := self._line(deadline)) != "PONG":
            self._take(line, deadline)

    def hear(self, *, deadline: float) -> Message | None:
        """The next message; None if none has come by then. Raises NatsFailed."""
        while not self._heard:
            try:
                self._take(self._line(deadline), deadline)
            except TimeoutError:
                return None
        return self._heard.pop(0)

    def _line(self, deadline: float) -> str:
        try:
            return self._lines.line(deadline).decode()
        except (Closed, UnicodeDecodeError) as fault:
            raise NatsFailed(f"NATS: {fault}") from None

    def _take(self, line: str, deadline: float) -> None:
        verb, *words = line.split()
        match verb.upper():
            case "MSG":  # subject, number of the subscription, where to answer if anywhere, size
                # A message that has begun comes whole, whatever the deadline.
                content = self._lines.exactly(int(words[-1]) + 2, max(deadline, time.monotonic() + 1))[:-2]
                self._heard.append(Message(words[0], content))
            case "PING":
                self._lines.send(b"PONG\r\n")
            case "-ERR":
                raise NatsFailed(f"NATS says {line}")


@contextmanager
def open_subscriber(url: str, *, deadline: float) -> Iterator[Subscriber]:
    """`nats://` or `tls://`, `user:password@` or `token@` where asked for. Raises NatsFailed."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    host, timeout_s = parts.hostname or "127.0.0.1", max(0.1, deadline - time.monotonic())
    try:
        connected = socket.create_connection((host, parts.port or 4222), timeout=timeout_s)
    except OSError as fault:
        raise NatsFailed(f"NATS at {host}:{parts.port or 4222}: {fault}") from None
    lines = Lines(connected)
    try:
        greeting = lines.line(deadline)
        if not greeting.startswith(b"INFO "):
            raise Closed("what listens there does not speak NATS")
        if parts.scheme == "tls" or json.loads(greeting[5:]).get("tls_required"):
            lines = Lines(ssl.create_default_context().wrap_socket(connected, server_hostname=host))
        options: dict[str, Any] = {"verbose": False, "pedantic": False, "headers": False, "name": "conformance"}
        if parts.username and parts.password:
            options |= {"user": unquote(parts.username), "pass": unquote(parts.password)}
        elif parts.username:
            options["auth_token"] = unquote(parts.username)
        lines.send(b"CONNECT %s\r\n" % json.dumps(options).encode())
    except (OSError, ValueError, Closed) as fault:
        lines.close()
        raise NatsFailed(f"NATS at {host}: {fault}") from None
    try:
        yield Subscriber(lines)
    finally:
        lines.close()
