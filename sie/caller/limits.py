"""What one server may cost: every size, time and number that a caller keeps to."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes (`_bytes`), times in seconds (`_s`). `math.inf` is a time without end."""

    connect_s: float = 5.0
    """A connection: the name looked up, TCP and TLS."""
    silence_s: float = 60.0
    """A server that says nothing where it is to answer, or takes nothing of what is sent."""
    keep_alive_s: float = 30.0
    """A connection that nobody uses; shorter than the servers' own patience."""
    head_bytes: int = 64 * KIB
    """An answer's status and headers with all interim answers before it, and a chunked body's trailers."""
    headers: int = 200
    """Their number."""
    read_bytes: int = 64 * KIB
    """Taken from a socket at a time: all that is read ahead of whoever reads the answer."""
