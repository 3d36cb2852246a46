"""What somebody who is no router may say on the NATS subjects: well-formed lies, and everything that is no message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sie.catalog.entry import Entry, read_entry, write_entry
from tests.bus.test_nats_strangers import GARBAGE
from tests.test_cluster import MODEL, document

BUNDLE, ALL, SYNC = "sie.config.models.default", "sie.config.models._all", "sie.config.sync.default"
GHOST = "ghost"  # part of every name that must never be seen

LIES = (
    "a new model at the next number",
    "other content at the next number",
    "other content at its own number",
    "a new model past a gap",
    "other content past a gap",
    "a new model at a huge number",
    "a gap before a huge number",
    "a new model of another store",
    "a new model of the lowest store",
    "v0.1.10: a new model",
    "v0.1.10: a new profile of a known one",
    "v0.1.10: a known one with other content",
)

Said: TypeAlias = tuple[str, bytes]  # subject, content


def forged(true: Mapping[str, Any], entry: Entry, *, previous: int, **changed: Any) -> Said:
    """The same of another entry, as who knows our form of it can write it."""
    fields = {
        **true,
        "model_id": entry.model_id,
        "profiles_added": list(entry.profiles),
        "epoch": entry.revision,
        "router_id": "mallory",
        "model_config": document(entry.model_id),
        "entry": write_entry(entry).decode(),
        "previous": previous,
        **changed,
    }
    return BUNDLE, json.dumps(fields).encode()


def ghost_of(entry: Entry, revision: int) -> Entry:
    """A model that nobody posted."""
    return replace(entry, model_id=f"{GHOST}/model-{revision}", revision=revision)


def rewritten(entry: Entry, revision: int) -> Entry:
    """A model that there is, with other content."""
    profiles = {name: {**content, "max_batch_tokens": 1} for name, content in entry.profiles.items()}
    return replace(entry, profiles=profiles, revision=revision)


def lies(true: Mapping[str, Any]) -> dict[str, Said]:
    """Well-formed messages with our additions, each of which would change what a worker knows."""
    entry = read_entry(true["entry"].encode(), name="what was overheard")
    head = entry.revision
    far, huge = head + 1000, 2**53
    return {
        "a new model at the next number": forged(true, ghost_of(entry, head + 1), previous=head),
        "other content at the next number": forged(true, rewritten(entry, head + 1), previous=head),
        "other content at its own number": forged(true, rewritten(entry, head), previous=true["previous"]),
        "a new model past a gap": forged(true, ghost_of(entry, far), previous=far - 1),
        "other content past a gap": forged(true, rewritten(entry, far), previous=far - 1),
        "a new model at a huge number": forged(true, ghost_of(entry, huge), previous=head),
        "a gap before a huge number": forged(true, ghost_of(entry, huge), previous=huge - 1),
        "a new model of another store": forged(true, ghost_of(entry, head + 1), previous=head, store="mallory"),
        "a new model of the lowest store": forged(true, ghost_of(entry, head + 1), previous=head, store="0"),
    }


def legacy_lies(true: Mapping[str, Any], ghost: str = GHOST) -> dict[str, Said]:
    """In the shape of SIE v0.1.10, without our additions."""

    def said(model: str, text: str, epoch: int) -> Said:
        fields = {
            "model_id": model,
            "profiles_added": ["default"],
            "epoch": epoch,
            "router_id": "router-old-1",
            "model_config": text,
            "bundle_config_hash": "",
        }
        return BUNDLE, json.dumps(fields).encode()

    known = true["model_id"]
    other = document(known).replace(f"hf_id: {MODEL}\n", "")
    return {
        "v0.1.10: a new model": said(f"{ghost}/old", document(f"{ghost}/old"), 7),
        "v0.1.10: a new profile of a known one": said(known, document(known, ghost), 10**9),
        "v0.1.10: a known one with other content": said(known, other + "    max_batch_tokens: 1\n", 8),
    }


WRONG: Sequence[Any] = (None, -1, 1.5, "x", "", [], [1], {}, {"x": 1}, True, 2**63, 2**64 - 1, "\u0000", "x" * 5_000)


def nonsense(true: Mapping[str, Mapping[str, Any]]) -> Iterator[Said]:
    """Everything that is no message of ours, on each subject that anybody listens to."""
    for subject in (BUNDLE, ALL, SYNC, "sie.config.sync._all", "sie.config.sync.nobody"):
        for one in GARBAGE if subject == BUNDLE else GARBAGE[:-1]:  # the last one is large
            yield subject, one if isinstance(one, bytes) else json.dumps(one).encode()
    for subject, fields in true.items():
        for key in fields:
            for value in WRONG:
                yield subject, json.dumps({**fields, key: value}).encode()
            yield subject, json.dumps({one: fields[one] for one in fields if one != key}).encode()
    asked = {"store": "x", "since": 0, "digest": "", "nonce": "n"}
    for key in asked:
        for value in (*WRONG, -(2**63), 10**400):
            yield SYNC, json.dumps({**asked, key: value}).encode()
