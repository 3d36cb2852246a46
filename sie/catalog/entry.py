# Rule: an entry that exists is legal; `read_entry` is the only way from bytes to one.
"""An entry: one accepted change, as it stands in the store for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sie.catalog.canonical import Json, canonical
from sie.errors import StoreCorrupt

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted change to one model.

    `profiles` maps each created profile's name to its normalised content; `fields` are the top-level fields it adds;
    `base` is set by the first append to a filesystem model: `{"fields": {...}, "profiles": {...}}` as the file has it.
    `heard`, of the same form, by the first append to a model that another store made: what that store says of it.
    `marker` is set on an entry that changes no model: `{"imported_epoch": N, "skipped": [...]}`, written when a
    v0.1.10 store has been imported to the end. `revision` 0 means "not placed yet".
    """

    model_id: str
    profiles: Mapping[str, Mapping[str, Json]]
    fields: Mapping[str, Json]
    write_id: str
    time: str  # RFC 3339, UTC; for people: clocks never order entries
    router_id: str
    skipped: tuple[str, ...] = ()
    base: Mapping[str, Mapping[str, Json]] | None = None
    heard: Mapping[str, Mapping[str, Json]] | None = None
    body_hash: str | None = None  # hex SHA-256 of the posted body
    idempotency_key: str | None = None
    marker: Mapping[str, Json] | None = None
    revision: int = 0

    def placed(self, revision: int) -> Entry:
        """The same entry at its number."""
        return replace(self, revision=revision)


def write_entry(entry: Entry) -> bytes:
    """Canonical bytes, absent parts left out. The same entry always gives the same bytes, so a put can be repeated."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "revision": entry.revision,
        "write_id": entry.write_id,
        "model_id": entry.model_id,
        "created_profiles": list(entry.profiles),
        "profiles": entry.profiles,
        "fields": entry.fields,
        "skipped_profiles": list(entry.skipped),
        "base": entry.base,
        "heard": entry.heard,
        "time": entry.time,
        "router_id": entry.router_id,
        "body_hash": entry.body_hash,
        "idempotency_key": entry.idempotency_key,
        "marker": entry.marker,
    }
    return canonical({key: value for key, value in content.items() if value is not None})


def read_entry(content: bytes, *, name: str, revision: int | None = None) -> Entry:
    """Bytes to an entry. `name` says where they lay, for the error; `revision`, if given, is the number it must bear.

    Raises StoreCorrupt, naming the object: torn, foreign, of an unknown format, or at another number.
    """
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict) or "format" not in raw:
            raise ValueError("not an entry of this system")
        if raw["format"] != FORMAT:
            raise StoreCorrupt(
                f"{name} has format {raw['format']!r} and this build reads {FORMAT}: upgrade; it is never skipped",
                name=name,
            )
        profiles = {profile: raw["profiles"][profile] for profile in raw["created_profiles"]}
        if not all(isinstance(one, dict) for one in profiles.values()) or not isinstance(raw["fields"], dict):
            raise TypeError("profiles and fields must be mappings")
        for kind in ("base", "heard"):
            whole = raw.get(kind)
            if whole is not None and not all(isinstance(whole[part], dict) for part in ("profiles", "fields")):
                raise TypeError(f"{kind} has profiles and fields")
        entry = Entry(
            model_id=str(raw["model_id"]),
            profiles=profiles,
            fields=raw["fields"],
            write_id=str(raw["write_id"]),
            time=str(raw["time"]),
            router_id=str(raw["router_id"]),
            skipped=tuple(raw["skipped_profiles"]),
            base=raw.get("base"),
            heard=raw.get("heard"),
            body_hash=raw.get("body_hash"),
            idempotency_key=raw.get("idempotency_key"),
            marker=raw.get("marker"),
            revision=int(raw["revision"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        raise StoreCorrupt(f"{name} is torn or not ours: {fault!r}", name=name) from None
    if revision is not None and entry.revision != revision:
        raise StoreCorrupt(f"{name} says it is revision {entry.revision}", name=name)
    return entry
