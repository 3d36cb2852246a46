"""What one client may cost: every size, time and number that the listener keeps to."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes (`_bytes`), times in seconds (`_s`). `math.inf` is a time without end."""

    # -- sizes
    request_line_bytes: int = 8 * KIB
    """The target of a request; then 414."""
    head_bytes: int = 16 * KIB
    """A request's line and headers, and a chunked body's trailers; then 431."""
    headers: int = 100
    """Their number; then 431."""
    websocket_bytes: int = 1 * MIB
    """One message to us, put together; then close code 1009."""
    read_bytes: int = 64 * KIB
    """Taken from a socket at a time, and the most that is kept of what an app has not asked for yet."""

    # -- times
    keep_alive_s: float = 75.0
    """A connection on which no request has begun."""
    head_s: float = 10.0
    """A request's head, from its first byte to its last; then 408."""
    body_stall_s: float = 10.0
    """How far a body may fall behind `body_bytes_per_s` while the app waits for it; then 408."""
    body_bytes_per_s: float = 1 * KIB
    """A slower sender is cut off in the end, however steadily it sends."""
    write_stall_s: float = 20.0
    """A client that takes nothing of what is sent."""
    linger_s: float = 2.0
    """For the client to read a last answer: closing over bytes still under way would destroy it."""
    leave_s: float = 1.0
    """For an app that was told that its client has gone; then it is cancelled."""
    grace_s: float = 25.0
    """Requests in hand when the listener stops."""
    sweep_s: float = 0.5
    """How often deadlines are looked at: each may be overrun by so much."""
    accept_pause_s: float = 0.1
    """When the process has no more file descriptors."""

    # -- numbers
    connections: int = 10_000
    """Open at once. More wait in the kernel's queue."""
