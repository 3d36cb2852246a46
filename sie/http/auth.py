# Rule: a token is kept and compared as its SHA-256 only; nothing here can print one.
"""Who may read and infer, and who may also add models."""

from __future__ import annotations

import hashlib
import hmac

from sie.errors import Forbidden, Unauthorized
from sie.http.headers import Headers


def fingerprint(token: str) -> str:
    """What logs may say of a token."""
    return _digest(token.encode()).hex()[:12]


class Access:
    """The documented matrix.

    | tokens set | read, infer   | write  |
    |------------|---------------|--------|
    | neither    | open          | open   |
    | auth       | auth          | nobody |
    | admin      | admin         | admin  |
    | both       | auth or admin | admin  |
    """

    def __init__(self, *, auth_token: str | None, admin_token: str | None) -> None:
        self._auth = _digest(auth_token.encode()) if auth_token else None
        self._admin = _digest(admin_token.encode()) if admin_token else None

    @property
    def open(self) -> bool:
        """Whether no token is set: development mode."""
        return self._auth is None and self._admin is None

    def require_read(self, headers: Headers) -> str | None:
        """The token's fingerprint; None where no token is needed. Raises Unauthorized."""
        if self.open:
            return None
        presented = _presented(headers)
        self._recognise(presented)
        return presented.hex()[:12]

    def require_write(self, headers: Headers) -> str | None:
        """The token's fingerprint; None where no token is needed. Raises Unauthorized, or Forbidden for a reader's."""
        if self.open:
            return None
        presented = _presented(headers)
        if not self._recognise(presented):
            raise Forbidden("Adding models needs the admin token (SIE_ADMIN_TOKEN)")
        return presented.hex()[:12]

    def _recognise(self, presented: bytes) -> bool:
        """Whether it is the admin's. Both are compared whichever matches, so that time tells nothing."""
        is_admin = self._admin is not None and hmac.compare_digest(presented, self._admin)
        is_auth = self._auth is not None and hmac.compare_digest(presented, self._auth)
        if not is_admin and not is_auth:
            raise Unauthorized("The token in the Authorization header is not known")
        return is_admin


def _presented(headers: Headers) -> bytes:
    """`Bearer` in any case, or the bare token, as v0.1.10 took it."""
    value = (headers.get("Authorization") or "").strip()
    scheme, _, rest = value.partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else value
    if not token:
        raise Unauthorized("An Authorization header with a token is needed: 'Authorization: Bearer <token>'")
    # A header is bytes, shown to us one character each; a token beyond ASCII arrives as its UTF-8.
    return _digest(token.encode("latin-1", "replace"))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
