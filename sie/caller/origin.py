"""Where a request goes: scheme, host and port."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """`host`: a name, or an address without brackets. `authority`: what the header Host says."""

    tls: bool
    host: str
    port: int
    authority: bytes

    @staticmethod
    def of(url: str) -> Origin:
        """The origin of an http or https URL. Raises ValueError if it has none."""
        parts = urlsplit(url)
        usual = _PORTS.get(parts.scheme)
        if usual is None or not parts.hostname:
            raise ValueError(f"{url[:200]!r} is no http or https URL")
        name = parts.hostname
        # An address's zone stands behind a `%`, and is nobody's business but ours.
        host = name if name.isascii() else name.encode("idna").decode("ascii")
        shown = f"[{host.partition('%')[0]}]" if ":" in host else host
        port = parts.port if parts.port is not None else usual
        return Origin(parts.scheme == "https", host, port, (shown if port == usual else f"{shown}:{port}").encode())
