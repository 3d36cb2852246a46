"""What can become of a request that gets no whole answer."""

from __future__ import annotations


class CallFault(Exception):
    """The root. Its text says why, for a log."""


class Unreachable(CallFault):
    """No connection could be made, or it ended, or talked nonsense, before the head of an answer was whole."""


class Stale(Unreachable):
    """A connection that had been used before ended before a byte of an answer came: the server may have closed it for
    being idle. A new one may do, if the request can be sent again."""


class Silent(CallFault):
    """The server neither took nor said anything for as long as it may."""


class BrokenOff(CallFault):
    """The answer's body ended before its end, or went on as none can."""
