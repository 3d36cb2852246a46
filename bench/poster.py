"""The client of a benchmark: one kept connection, and as little of its own time as can be."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Answered:
    """When it was sent and answered, on this machine's monotonic clock in ns, and what the answer was."""

    sent: int
    answered: int
    status: int
    content: bytes

    @property
    def took(self) -> int:
        return self.answered - self.sent

    @property
    def body(self) -> Any:
        """What its JSON says."""
        return json.loads(self.content)


class Poster:
    """Speaks to one address over one connection."""

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        assert place.hostname is not None
        self._connection = http.client.HTTPConnection(place.hostname, place.port, timeout=_PATIENCE_S)

    def post(self, body: bytes) -> Answered:
        """Add a model."""
        return self._ask("POST", "/v1/configs/models", body)

    def get(self, path: str) -> Answered:
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, body: bytes | None) -> Answered:
        sent = time.monotonic_ns()
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        content = response.read()
        answered = time.monotonic_ns()
        return Answered(sent, answered, response.status, content)

    def __enter__(self) -> Poster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
