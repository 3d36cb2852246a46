"""What a client is waited for."""

from __future__ import annotations

from enum import Enum


class Patience(Enum):
    """What `Connection.deadline` is about."""

    IDLE = "no request has begun"
    HEAD = "a head is under way"
    BODY = "the app waits for more of a body"
    LEAVING = "the app was told that its client has gone"
    LINGER = "the last answer is under way"
