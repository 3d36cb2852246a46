"""Ports for those who have to be told one before they listen, or listen there again later."""

from __future__ import annotations

import random
import socket

# Below what Linux gives to outgoing connections (32768 on): one of those must not take it before its owner does.
_FIRST, _LAST = 15_000, 32_000


def free_port() -> int:
    """Free on loopback a moment ago."""
    while True:
        port = random.randrange(_FIRST, _LAST)
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
