"""Catching up over the bus: a follower says what it knows, a router answers with what it lacks, in pages."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from sie.catalog.faults import shown
from sie.catalog.ids import is_bundle_id
from sie.catalog.model import Model, Profile
from sie.catalog.snapshot import write_logged
from sie.wire.notification import ALL
from sie.wire.sealed import NotOurs, mac, seal, unseal

_SUBJECT = "sie.config.sync."

# What routers listen to, together: one of them answers.
ANY_SUBJECT = f"{_SUBJECT}*"


def sync_subject(bundle: str) -> str:
    """`bundle`: or `_all`. Raises ValueError for anything else."""
    if bundle != ALL and not is_bundle_id(bundle):
        raise ValueError(f"not a bundle's name: {shown(bundle)!r}")
    return f"{_SUBJECT}{bundle}"


def router_subject(address: str) -> str:
    """Where one router alone answers what it knows of all bundles; `address`: see `Heads`."""
    return f"{_SUBJECT}{ALL}.{address}"


def is_sync_subject(subject: str) -> bool:
    return subject.startswith(_SUBJECT)


# The first line of a page is a JSON object; it never comes near this, and the rest of the page is content.
_HEAD_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """What a follower of `bundle` knows: of each store everything up to a revision, which hashes to `digest`."""

    bundle: str
    known: Mapping[str, int]
    digest: str = ""  # "": it does not matter


# One store's part of an answer: its id, the revision up to which it is told, whether these are all its models of the
# bundle and not only those that the asker lacks, and the models.
SyncPart: TypeAlias = tuple[str, int, bool, Sequence[Model]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReply:
    """What the asker lacks, or why there is no answer."""

    parts: Sequence[SyncPart] = ()
    refused: str = ""


def write_request(request: SyncRequest, *, subject: str, nonce: str, key: bytes | None) -> bytes:
    """`nonce`: random, and repeated in every page of the answer, so that no old answer passes for one."""
    fields = {"known": dict(request.known), "digest": request.digest, "nonce": nonce}
    return seal(fields, subject=subject, key=key)


def read_request(content: bytes, *, subject: str, key: bytes | None, limit: int) -> tuple[SyncRequest, str]:
    """The request and its nonce. Raises NotOurs."""
    fields = unseal(content, subject=subject, key=key, limit=limit)
    bundle = subject.removeprefix(_SUBJECT).partition(".")[0]
    known, digest, nonce = (fields.get(name) for name in ("known", "digest", "nonce"))
    if not isinstance(known, dict) or not all(type(one) is int for one in known.values()):
        raise NotOurs("malformed", "a request states up to which revision each store is known")
    if not isinstance(digest, str) or not isinstance(nonce, str):
        raise NotOurs("malformed", "a request states digest and nonce")
    if bundle != ALL and not is_bundle_id(bundle):
        raise NotOurs("malformed", "no bundle can be called so")
    if len(nonce) > 64:
        raise NotOurs("malformed", "a nonce has at most 64 characters")
    return SyncRequest(bundle=bundle, known=known, digest=digest), nonce


def write_reply(reply: SyncReply, *, nonce: str, key: bytes | None, limit: int) -> Sequence[bytes]:
    """The pages, each at most `limit` bytes: one document cut up, for a model alone may be larger than a message.

    About 10 microseconds a model: for a large catalog, call it in a thread.
    """
    content = orjson.dumps(
        {
            "refused": reply.refused,
            "parts": [
                {"store": store, "revision": revision, "whole": whole, "models": [write_logged(one) for one in models]}
                for store, revision, whole, models in reply.parts
            ],
        }
    )
    step = max(limit - _HEAD_BYTES, 1)
    parts = [content[at : at + step] for at in range(0, len(content), step)]
    return [_write_page(part, page, len(parts), nonce, key) for page, part in enumerate(parts)]


def _write_page(part: bytes, page: int, pages: int, nonce: str, key: bytes | None) -> bytes:
    head: dict[str, Any] = {"nonce": nonce, "page": page, "pages": pages}
    if key is not None:
        head["hmac"] = _page_mac(key, nonce, page, pages, part)
    return orjson.dumps(head) + b"\n" + part


def _page_mac(key: bytes, nonce: str, page: int, pages: int, part: bytes) -> str:
    return mac(key, b"sync", nonce.encode(), b"%d" % page, b"%d" % pages, part)


@dataclass(slots=True)
class Pages:
    """Put together again: feed it page after page until `complete`. `limit`: bytes of all of them."""

    nonce: str
    key: bytes | None
    limit: int
    complete: bool = False
    _parts: list[bytes] = field(default_factory=list)
    _bytes: int = 0

    def add(self, page: bytes) -> None:
        """Raises NotOurs: forged, out of order, of another conversation, or more than `limit` in all."""
        line, newline, part = page.partition(b"\n")
        try:
            head = orjson.loads(line)
            number, pages, given = head["page"], head["pages"], head.get("hmac")
            nonce = head["nonce"]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise NotOurs("malformed", "a page begins with a line that says which it is") from None
        if not newline or type(number) is not int or type(pages) is not int or nonce != self.nonce:
            raise NotOurs("malformed", "not a page of this answer")
        if self.key is not None:
            wanted = _page_mac(self.key, self.nonce, number, pages, part)
            if not isinstance(given, str) or not hmac.compare_digest(given.encode(), wanted.encode()):
                raise NotOurs("forged", "a page of an answer bears no seal of SIE_BUS_KEY")
        if number != len(self._parts) or number >= pages:
            raise NotOurs("contradictory", f"page {number} of {pages} came instead of page {len(self._parts)}")
        if self._bytes + len(part) > self.limit:
            raise NotOurs("oversized", f"an answer of more than {self.limit} bytes")
        self._bytes += len(part)
        self._parts.append(part)
        self.complete = number == pages - 1

    def reply(self) -> SyncReply:
        """What the pages say. About 10 microseconds a model. Raises NotOurs."""
        try:
            raw = orjson.loads(b"".join(self._parts))
            return SyncReply(parts=[_read_part(one) for one in raw["parts"]], refused=_be(str, raw["refused"]))
        except (ValueError, KeyError, TypeError) as fault:
            raise NotOurs("malformed", f"an answer that cannot be read: {fault!r}") from None


def _read_part(raw: Mapping[str, Any]) -> SyncPart:
    models = [_read_model(one) for one in raw["models"]]
    return _be(str, raw["store"]), _be(int, raw["revision"]), _be(bool, raw["whole"]), models


def _read_model(raw: Mapping[str, Any]) -> Model:
    profiles = {_be(str, name): Profile(name, _be(dict, content)) for name, _, content in raw["profiles"]}
    source = raw["source"]
    if source not in ("filesystem", "api"):
        raise ValueError("a model comes from the filesystem or the api")
    model = Model(
        sie_id=_be(str, raw["sie_id"]),
        fields=_be(dict, raw["fields"]),
        profiles=profiles,
        source=source,
        revision=_be(int, raw["revision"]),
        created={name: _be(int, revision) for name, revision, _ in raw["profiles"]},
    )
    for one in profiles.values():
        parent = profiles[one.extends] if one.extends is not None else one
        _be(str, one.adapter_path or parent.adapter_path)
    return model


def _be(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value
