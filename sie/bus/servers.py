# Rule: what is secret stays in values that do not show it; every message of this module names settings, not contents.
"""Where NATS is and who we are there, read from the settings and checked before anything is tried."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sie.errors import ConfigurationError
from sie.settings import Settings

_SCHEMES = ("nats", "tls")
_PORT = 4222


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One address. `encrypted`: the URL asks for TLS, and a connection without it must not be used."""

    name: str  # host:port, fit for a log
    encrypted: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """All addresses of one NATS system, and what holds for each of them."""

    addresses: Sequence[Server]
    credentials: Path | None
    tls: ssl.SSLContext | None


def read_servers(settings: Settings) -> Servers:
    """Raises ConfigurationError, naming the setting, for what can never work."""
    addresses = [_read(one.strip()) for one in (settings.nats_url or "").split(",") if one.strip()]
    if not addresses:
        raise ConfigurationError("SIE_NATS_URL names no server: nats://host:4222, several apart by commas")
    credentials = settings.nats_credentials
    if credentials is not None:
        if not credentials.is_file():
            raise ConfigurationError(f"SIE_NATS_CREDS: there is no file {credentials}")
        if importlib.util.find_spec("nkeys") is None:
            raise ConfigurationError("SIE_NATS_CREDS needs the nkeys package: install `sie[nkeys]`")
    return Servers(addresses=addresses, credentials=credentials, tls=_tls(settings, addresses))


def _read(url: str) -> Server:
    scheme, separator, _ = url.partition("://")
    if not separator:
        scheme, url = "nats", f"nats://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, 0  # the parser's own words would repeat what may be a password
    if scheme not in _SCHEMES or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError(
            "SIE_NATS_URL: each server is nats://host:port or tls://host:port, with user:password@ or token@ before "
            "the host where it asks for one; write @ : / # ? % in a password as %40 %3A %2F %23 %3F %25"
        )
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if user is not None and password is None:
        return Server(name=name, encrypted=scheme == "tls", token=user)
    return Server(name=name, encrypted=scheme == "tls", user=user, password=password)


def _tls(settings: Settings, addresses: Sequence[Server]) -> ssl.SSLContext | None:
    """None where nothing asks for TLS. A server that does all the same is met with the system's authorities."""
    ca, certificate, key = settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key
    if ca is None and certificate is None and not any(one.encrypted for one in addresses):
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as fault:  # an SSLError is an OSError
        raise ConfigurationError(f"SIE_NATS_TLS_CA, _CERT or _KEY cannot be used: {fault}") from None
    return context
