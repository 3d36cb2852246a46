# Rule: nothing here awaits, reads a clock, or knows a socket.
"""The head of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-~]+")  # what a server cannot take for the end of it
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding"})


def write_head(
    method: bytes, target: bytes, authority: bytes, headers: Iterable[tuple[bytes, bytes]], *, length: int | None
) -> bytes:
    """`length`: of the body; None: it is sent in chunks. `headers`: without those, and without `host`.

    Raises ValueError for what would make another request of it.
    """
    lines = [_begun(method, target, authority)]
    lines.append(b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length)
    for name, value in headers:
        lines.append(b"%b: %b\r\n" % (_named(name), value))
    content = b"".join(lines)
    ends = len(lines) + 1
    if content.count(b"\n") != ends or content.count(b"\r") != ends or b"\0" in content:
        raise ValueError("a header's value has a line's end in it")
    return content + b"\r\n"


@lru_cache(maxsize=1024)
def _begun(method: bytes, target: bytes, authority: bytes) -> bytes:
    if not _TARGET.fullmatch(target):
        raise ValueError(f"{target[:200]!r} is no request's target")
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (_named(method), target, authority)


@lru_cache(maxsize=1024)
def _named(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise ValueError(f"{name[:200]!r} is no name for a header, or one of ours")
    return name
