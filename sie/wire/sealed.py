# Rule: whatever stands in a message, reading it ends in a value or in NotOurs, never in another exception.
"""One JSON object as it travels on the bus: sealed, where there is a key, against everybody who does not have it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from sie.catalog.canonical import canonical

_SEAL = "hmac"


class NotOurs(Exception):
    """A message to be counted and ignored. `kind` is one of a few words; `sender` is what it claims, unproven."""

    def __init__(self, kind: str, detail: str, *, sender: str = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.sender = sender


def seal(fields: Mapping[str, Any], *, subject: str, key: bytes | None) -> bytes:
    """The object as bytes. With a key it bears a seal over all of it and the subject it is meant for."""
    sealed = {**fields, _SEAL: _mac(fields, subject, key)} if key is not None else fields
    return orjson.dumps(sealed)


def unseal(content: bytes, *, subject: str, key: bytes | None, limit: int) -> dict[str, Any]:
    """The fields without the seal; `limit`: bytes of the message.

    Raises NotOurs: oversized, malformed (not one JSON object), or forged (a key is set and the seal is not its).
    """
    if len(content) > limit:
        raise NotOurs("oversized", f"{len(content)} bytes, and {limit} are read")
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise NotOurs("malformed", f"not JSON: {fault}") from None
    if not isinstance(fields, dict):
        raise NotOurs("malformed", "not an object")
    given = fields.pop(_SEAL, None)
    if key is not None:
        try:
            wanted = _mac(fields, subject, key)
        except (ValueError, RecursionError):
            wanted = ""
        if not isinstance(given, str) or not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
            said = "bears no seal of SIE_BUS_KEY" if given is None else "bears a seal of another key or message"
            raise NotOurs("forged", said, sender=claimed_sender(fields))
    return fields


def claimed_sender(fields: Mapping[str, Any]) -> str:
    found = fields.get("router_id")
    return found if isinstance(found, str) else ""


def mac(key: bytes, *parts: bytes) -> str:
    """Hex HMAC-SHA256 over the parts, each with its length: no two lists of parts give the same bytes."""
    whole = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.hexdigest()


def _mac(fields: Mapping[str, Any], subject: str, key: bytes) -> str:
    return mac(key, subject.encode(), canonical(fields))
