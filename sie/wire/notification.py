# Rule: SIE v0.1.10's keys stay as they are; ours are additions, which its readers do not look at.
"""What routers tell each other and workers: one accepted change, on the two documented subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from sie.catalog.canonical import Json, canonical
from sie.catalog.entry import Entry, read_entry, write_entry
from sie.catalog.faults import Faults, listed, shown
from sie.catalog.ids import check_model_id, is_bundle_id
from sie.catalog.schema import FILE_SCHEMA
from sie.errors import InvalidModelId, StoreCorrupt
from sie.wire.sealed import NotOurs, claimed_sender, seal, unseal

_SUBJECT = "sie.config.models."

# Every JSON reader keeps whole numbers up to here exact; no revision comes near it.
_NUMBER_MOST = 2**53

# Every router listens here; no bundle can be called so.
ALL = "_all"
ALL_SUBJECT = f"{_SUBJECT}{ALL}"


def bundle_subject(bundle: str) -> str:
    """Raises ValueError for what is not a bundle's name: it would be another subject, or a wildcard."""
    if not is_bundle_id(bundle):
        raise ValueError(f"not a bundle's name: {shown(bundle)!r}")
    return f"{_SUBJECT}{bundle}"


def bundle_of(subject: str) -> str:
    """The bundle a subject is for; `_all` for everybody's."""
    return subject.removeprefix(_SUBJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """All that the messages about one change are made of. `heads`: the bundles that have the model, best first, each
    with the newest revision of `store` that touched it. `entry`: None for a change that was told before; with it,
    `previous` holds the revision before it in each of those bundles.
    """

    model_id: str
    profiles: tuple[str, ...]
    store: str
    heads: Mapping[str, int]
    entry: Entry | None = None
    previous: Mapping[str, int] = field(default_factory=dict)
    router_id: str
    epoch: int
    model_config: str  # the whole merged model, as YAML
    bundle_config_hashes: Mapping[str, str]  # "" for a bundle that is not in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One entry, as heard. On a bundle's subject `previous` holds that bundle only."""

    router_id: str
    store: str
    entry: Entry
    previous: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyNotification:
    """What a router of SIE v0.1.10 says: a whole model as YAML, which nobody has looked into yet."""

    router_id: str
    model_id: str
    profiles_added: tuple[str, ...]
    epoch: int
    model_config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentElsewhere:
    """The newest revision of `store` that touched the bundle, or any bundle: who lacks it reads it there.

    For a change that is too large to be said, or was said before.
    """

    router_id: str
    model_id: str
    store: str
    revision: int


Heard: TypeAlias = Notification | LegacyNotification | ContentElsewhere


def announce(change: Announcement, *, key: bytes | None, limit: int) -> Sequence[tuple[str, bytes]]:
    """The messages that tell of a change, as (subject, payload) in the order to send them: bundles first, then all.

    A payload above `limit` bytes goes without its content.
    """
    additions: dict[str, Mapping[str, Any]] = {
        bundle_subject(bundle): {
            "revision": revision,
            "previous": change.previous.get(bundle),
            "bundle_config_hash": change.bundle_config_hashes.get(bundle, ""),
        }
        for bundle, revision in change.heads.items()
    }
    additions[ALL_SUBJECT] = {
        "revision": max(change.heads.values(), default=0),
        "previous": dict(change.previous),
        "affected_bundles": list(change.heads),
    }
    return [(subject, _write(change, subject, more, key, limit)) for subject, more in additions.items()]


def _write(change: Announcement, subject: str, more: Mapping[str, Any], key: bytes | None, limit: int) -> bytes:
    fields = {
        "model_id": change.model_id,
        "profiles_added": list(change.profiles),
        "epoch": change.epoch,
        "router_id": change.router_id,
        "store": change.store,
        **more,
    }
    content = {"model_config": change.model_config}
    if change.entry is not None:
        content["entry"] = write_entry(change.entry).decode()
    whole = seal({**fields, **content}, subject=subject, key=key)
    return whole if len(whole) <= limit else seal(fields, subject=subject, key=key)


def read_notification(content: bytes, *, subject: str, key: bytes | None, limit: int) -> Heard:
    """Bytes to what they say. `key`: None takes messages with and without a seal. `limit`: bytes of a message.

    Raises NotOurs, whose kind is oversized, malformed, forged or contradictory.
    """
    fields = unseal(content, subject=subject, key=key, limit=limit)
    try:
        return _read(fields, subject)
    except NotOurs as fault:
        fault.sender = claimed_sender(fields)
        raise


def _read(fields: Mapping[str, Any], subject: str) -> Heard:
    router_id, model_id = _text(fields, "router_id"), _text(fields, "model_id")
    try:
        check_model_id(model_id)
    except InvalidModelId as fault:
        raise NotOurs("malformed", fault.message) from None
    if "store" in fields and "entry" not in fields:
        return ContentElsewhere(
            router_id=router_id, model_id=model_id, store=_text(fields, "store"), revision=_number(fields, "revision")
        )
    epoch, added = _number(fields, "epoch"), _texts(fields, "profiles_added")
    if "entry" not in fields:
        return LegacyNotification(
            router_id=router_id,
            model_id=model_id,
            profiles_added=added,
            epoch=epoch,
            model_config=_text(fields, "model_config"),
        )
    entry = _entry(_text(fields, "entry"))
    if entry.model_id != model_id or tuple(entry.profiles) != added:
        raise NotOurs("contradictory", f"its entry is about {shown(entry.model_id)!r}, not what the message says")
    previous = _previous(fields, subject)
    if any(one > entry.revision for one in previous.values()):  # its own: it joins a bundle with it
        raise NotOurs("contradictory", f"revision {entry.revision} cannot follow {max(previous.values())}")
    return Notification(router_id=router_id, store=_text(fields, "store"), entry=entry, previous=previous)


def _previous(fields: Mapping[str, Any], subject: str) -> Mapping[str, int]:
    bundle = bundle_of(subject)
    if bundle != ALL:
        return {bundle: _number(fields, "previous")}
    found = fields.get("previous")
    if not isinstance(found, dict) or not all(is_bundle_id(one) and _is_number(found[one]) for one in found):
        raise NotOurs("malformed", "previous must map bundles to revisions")
    return found


def _entry(text: str) -> Entry:
    """An entry that every process can fold, hash and run: text is ours only if we would have written it so."""
    try:
        entry = read_entry(text.encode(), name="the message's entry")
        if write_entry(entry) != text.encode():
            raise NotOurs("malformed", "its entry is not in canonical form")
        _check_content(entry.fields, entry.profiles)
        for whole in (entry.base, entry.heard):
            if whole is not None:
                _check_content(whole["fields"], whole["profiles"])
    except (StoreCorrupt, ValueError, RecursionError) as fault:
        raise NotOurs("malformed", str(fault)) from None
    if not 1 <= entry.revision <= _NUMBER_MOST or entry.marker is not None:
        raise NotOurs("malformed", "its entry has no number in the log, or changes no model")
    return entry


def _check_content(fields: Mapping[str, Json], profiles: Mapping[str, Any]) -> None:
    faults = Faults()
    document: dict[str, Json] = {**fields, "profiles": profiles or {"default": {"adapter_path": "any:One"}}}
    normal_fields, normal_profiles = FILE_SCHEMA.read(document, faults)
    if faults:
        raise NotOurs("malformed", listed(faults.details()[:1]))
    normal = {name: one.content for name, one in normal_profiles.items()} if profiles else {}
    if canonical([fields, profiles]) != canonical([normal_fields, normal]):
        raise NotOurs("malformed", "its entry is not in normal form")


def _text(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    if not isinstance(found, str) or not found:
        raise NotOurs("malformed", f"{name} must be text")
    return found


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = fields.get(name)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise NotOurs("malformed", f"{name} must be a list of texts")
    return tuple(found)


def _number(fields: Mapping[str, Any], name: str) -> int:
    found = fields.get(name)
    if not _is_number(found):
        raise NotOurs("malformed", f"{name} must be a whole number from 0 on")
    return cast("int", found)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _NUMBER_MOST  # true is none
