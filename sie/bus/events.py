"""What crosses the bridge to NATS, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Message:
    """What came in or goes out. `reply`: the subject an answer goes to, or ""."""

    subject: str
    content: bytes
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to listen to; `*` stands for one token. In a `group`, one of its listeners gets each message."""

    pattern: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Up:
    """Connected, and listening to all that is wanted. `limit`: the most bytes of one message."""

    server: str
    limit: int


@dataclass(frozen=True, slots=True)
class Down:
    """Not connected: the connection was lost, or a try to make one failed."""

    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listening:
    """From here on nothing on this subject is missed, while the connection lasts."""

    subject: Subject


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not have us publish or listen to something."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message came that is broken below what it says: a header or subject of bytes that are none."""

    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """So much came that messages were dropped."""


Event: TypeAlias = Message | Up | Down | Listening | Refused | Unreadable | Missed
