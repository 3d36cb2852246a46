"""What inference requests say in headers, read strictly where a wrong guess would cost somebody time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from sie.errors import InvalidInput

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")
_STORE = re.compile(r"[!-~]{0,200}")


class Headers(Protocol):
    """Those of a request, by name in any case: werkzeug's, or RawHeaders."""

    def get(self, name: str, /) -> str | None:
        """The first of this name."""

    def getlist(self, name: str, /) -> Sequence[str]:
        """All of this name, in order."""


class RawHeaders:
    """Headers as they come, names in lower case, decoded when they are asked for."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._pairs = list(pairs)
        self._first = dict(reversed(self._pairs))

    def get(self, name: str, /) -> str | None:
        value = self._first.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    def getlist(self, name: str, /) -> Sequence[str]:
        wanted = name.lower().encode()
        if wanted not in self._first:
            return ()
        return [value.decode("latin-1") for one, value in self._pairs if one == wanted]


def joined(headers: Headers, name: str) -> str | None:
    """All the values of a header that may be sent in several lines."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None


def prefer_wait(headers: Headers, most_s: float) -> float | None:
    """Seconds asked for by `Prefer: wait=N` (RFC 7240), capped; None if not asked. Other preferences are ignored."""
    said = joined(headers, "Prefer")
    if said is None:
        return None
    for preference in re.split("[,;]", said):
        if wait := _WAIT.fullmatch(preference.strip()):
            return min(float(wait[1]), most_s)  # the first one counts
    return None


def timeout_s(headers: Headers) -> float | None:
    """The request's own time, from `X-SIE-Timeout-Ms`. Raises InvalidInput."""
    said = headers.get("X-SIE-Timeout-Ms")
    if said is None:
        return None
    try:
        milliseconds = float(said)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        message = "Header X-SIE-Timeout-Ms must be a positive number of milliseconds"
        raise InvalidInput(message, path="X-SIE-Timeout-Ms")
    return milliseconds / 1000


def model_revision(headers: Headers) -> tuple[str, int]:
    """`X-SIE-Model-Revision`: the newest revision of the model that a router knows, 0 if it does not say; and before
    it the store it is of, `X-SIE-Model-Store`, "" for the one that the worker follows.

    Raises InvalidInput.
    """
    said = headers.get("X-SIE-Model-Revision")
    store = headers.get("X-SIE-Model-Store")
    if said is None and store is None:
        return "", 0
    said = "0" if said is None else said.strip()
    if not _NUMBER.fullmatch(said):
        raise InvalidInput("Header X-SIE-Model-Revision must be a whole number from 0", path="X-SIE-Model-Revision")
    store = "" if store is None else store.strip()
    if not _STORE.fullmatch(store):
        raise InvalidInput("Header X-SIE-Model-Store must be the id of a config store", path="X-SIE-Model-Store")
    return store, int(said)


def check_machine_profile(headers: Headers, identity: str) -> None:
    """Refuse a request meant for other machines: it was routed wrongly, and no wait will cure that.

    `l4` and `l4-spot` are one machine at two prices and stand for each other; a `pool/` before it is the router's
    business. Raises InvalidInput.
    """
    asked = headers.get("X-SIE-MACHINE-PROFILE")
    if asked is None:
        return
    if not identity or _machine(asked) != _machine(identity):
        raise InvalidInput(
            f"This worker's machine profile is '{identity}', the request asks for '{asked[:100]}'"
            if identity
            else "This worker has no machine profile (SIE_MACHINE_PROFILE); send no X-SIE-MACHINE-PROFILE header",
            requested_profile=asked[:100],
            worker_identity=identity,
        )


def _machine(profile: str) -> str:
    return profile.rpartition("/")[2].strip().lower().removesuffix("-spot")
