"""Where each router stands, said now and then: how others find out that they missed something, or everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sie.catalog.ids import is_bundle_id
from sie.wire.sealed import NotOurs, seal, unseal

# Not one of the documented subjects: readers of SIE v0.1.10 never see these.
HEADS_SUBJECT = "sie.config.heads"

_STORES_MOST = 64  # of one message; more are no cluster's


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """`bundles`: the newest revision of `store` that touched each. `known`: up to where the router knows each store,
    its own first. `address`: where it alone can be asked. `asks`: whether it wants to hear this of everybody."""

    router_id: str
    address: str
    store: str
    bundles: Mapping[str, int]
    known: Mapping[str, int]
    asks: bool = False


def write_heads(heads: Heads, *, key: bytes | None) -> bytes:
    fields = {
        "router_id": heads.router_id,
        "address": heads.address,
        "store": heads.store,
        "bundles": dict(heads.bundles),
        "known": dict(heads.known),
        "asks": heads.asks,
    }
    return seal(fields, subject=HEADS_SUBJECT, key=key)


def read_heads(content: bytes, *, key: bytes | None, limit: int) -> Heads:
    """Raises NotOurs."""
    fields = unseal(content, subject=HEADS_SUBJECT, key=key, limit=limit)
    router_id, address, store = (fields.get(name) for name in ("router_id", "address", "store"))
    if not isinstance(router_id, str) or not isinstance(address, str) or not isinstance(store, str):
        raise NotOurs("malformed", "router_id, address and store must be texts")
    if not address.isalnum() or not address.isascii():
        raise NotOurs("malformed", "no router can be asked there", sender=router_id)
    bundles, known = _numbers(fields, "bundles", router_id), _numbers(fields, "known", router_id)
    if not all(map(is_bundle_id, bundles)) or len(known) > _STORES_MOST:
        raise NotOurs("malformed", "bundles or stores that cannot be", sender=router_id)
    return Heads(
        router_id=router_id,
        address=address,
        store=store,
        bundles=bundles,
        known=known,
        asks=fields.get("asks") is True,
    )


def _numbers(fields: Mapping[str, Any], name: str, sender: str) -> Mapping[str, int]:
    found = fields.get(name)
    if not isinstance(found, dict) or not all(type(one) is int and 0 <= one < 2**53 for one in found.values()):
        raise NotOurs("malformed", f"{name} must map names to revisions", sender=sender)
    return found
