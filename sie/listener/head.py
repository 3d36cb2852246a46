# Rule: nothing here awaits, reads a clock, or knows a socket.
"""The head of a response, and how the end of its body is known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINES = {one.value: b"HTTP/1.1 %d %s\r\n" % (one, one.phrase.encode()) for one in HTTPStatus}


class Head(NamedTuple):
    """A named tuple, as one is made for each request: it costs a third of a frozen dataclass."""

    content: bytes
    length: int | None
    """Of the body, if it was said."""
    chunked: bool
    bodiless: bool
    """Nothing may follow: the answer to HEAD, 204, 304."""
    closes: bool
    """The connection carries no other request."""


# What a header is to us. Plain numbers: an Enum's members cost more than all else here.
_PLAIN, _LENGTH, _CONNECTION, _OURS, _DATE, _SERVER = range(6)
_KINDS = {
    b"content-length": _LENGTH,
    b"connection": _CONNECTION,
    b"transfer-encoding": _OURS,
    b"date": _DATE,
    b"server": _SERVER,
}


def write_head(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    method: str,
    version: str,
    keep_alive: bool,
    whole: int | None,
    now: int,
    server: bytes,
) -> Head:
    """The head of an answer to a `method` of HTTP `version`.

    `whole` is the body's length if all of it is known; `now` is in seconds since 1970; `server` may be empty.
    Raises ValueError for a status or header that would make another message of it.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is no final status")
    lines = [_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
    length: int | None = None
    dated = named = False
    for name, value in headers:
        kind = _kind(name)
        if kind:
            if kind == _LENGTH:
                if length is not None or not value.isdigit():
                    raise ValueError(f"content-length {value!r} is none, or the second")
                length = int(value)
                if status == 204:
                    continue
            elif kind == _CONNECTION:
                keep_alive = keep_alive and b"close" not in value.lower()
                continue
            elif kind == _OURS:
                continue
            elif kind == _DATE:
                dated = True
            else:
                named = True
        lines.append(b"%b: %b\r\n" % (name, value))

    bodiless = method == "HEAD" or status in (204, 304)
    chunked = False
    if length is None and not bodiless:
        if whole is not None:
            length = whole
            lines.append(b"content-length: %d\r\n" % whole)
        elif version == "1.1":
            chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            keep_alive = False  # the end of the connection is the end of the body
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    elif version == "1.0":
        lines.append(b"connection: keep-alive\r\n")
    if not dated:
        lines.append(_date(now))
    if server and not named:
        lines.append(b"server: %b\r\n" % server)
    return Head(_joined(lines), length, chunked, bodiless, not keep_alive)


def write_switch(accept: bytes, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The answer that makes a WebSocket of the connection. Raises ValueError as `write_head` does."""
    lines = [
        _LINES[101],
        b"upgrade: websocket\r\n",
        b"connection: upgrade\r\n",
        b"sec-websocket-accept: %b\r\n" % accept,
    ]
    if subprotocol is not None:
        lines.append(b"sec-websocket-protocol: %b\r\n" % subprotocol.encode())
    lines += [b"%b: %b\r\n" % (name, value) for name, value in headers if _kind(name) in (_PLAIN, _DATE, _SERVER)]
    return _joined(lines)


def plain_answer(
    status: int, text: str, *, now: int, server: bytes, method: str = "GET", headers: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """A whole answer in the listener's own words, after which the connection closes."""
    body = text.encode() + b"\n"
    head = write_head(
        status,
        [(b"content-type", b"text/plain; charset=utf-8"), *headers],
        method=method,
        version="1.1",
        keep_alive=False,
        whole=len(body),
        now=now,
        server=server,
    )
    return head.content if head.bodiless else head.content + body


def _joined(lines: list[bytes]) -> bytes:
    content = b"".join(lines)
    if content.count(b"\n") != len(lines) or content.count(b"\r") != len(lines) or b"\0" in content:
        raise ValueError("a header's value has a line's end in it")
    return content + b"\r\n"


@lru_cache(maxsize=1024)
def _kind(name: bytes) -> int:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header's name")
    return _KINDS.get(name.lower(), _PLAIN)


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return b"date: %b\r\n" % formatdate(now, usegmt=True).encode()
