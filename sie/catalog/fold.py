# Rule: content of a (model, profile) never changes once it is there, so these functions commute and can be repeated.
"""The fold of one model: what its entries make of it, in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from sie.catalog.canonical import Json, canonical
from sie.catalog.entry import Entry
from sie.catalog.model import Model, Profile
from sie.catalog.union import runs

_NOTHING: Mapping[str, Mapping[str, Json]] = {"fields": {}, "profiles": {}}


@dataclass(frozen=True, slots=True)
class Conflict:
    """An entry said something that exists differently. What was there stays."""

    model_id: str
    revision: int
    profiles: tuple[str, ...]
    fields: tuple[str, ...]


def fold(model: Model | None, entry: Entry) -> tuple[Model, Conflict | None]:
    """The model with one more entry in it; `model` is None before its first.

    Of the log alone: what a file says comes with `overlay`. `source` is "filesystem" once an entry brought a base.
    """
    if model is not None:
        return _fold(model, entry)
    global _first
    if _first is None or _first[0] is not entry:
        _first = entry, _fold(None, entry)
    return _first[1]


# What the newest first entry of a model makes: all followers in a process make the same of it, and hash the same.
_first: tuple[Entry, tuple[Model, Conflict | None]] | None = None


def _fold(model: Model | None, entry: Entry) -> tuple[Model, Conflict | None]:
    profiles = dict(model.profiles) if model is not None else {}
    created = dict(model.created) if model is not None else {}
    fields = dict(model.fields) if model is not None else {}
    base = entry.base if entry.base is not None else _NOTHING
    heard = entry.heard if entry.heard is not None else _NOTHING
    said_profiles: list[str] = []
    said_fields: list[str] = []

    layers = ((base["profiles"], 0), (heard["profiles"], entry.revision), (entry.profiles, entry.revision))
    for contents, revision in layers:
        for name, content in contents.items():
            profile = Profile(name, cast("Mapping[str, Json]", content))
            if name not in profiles:
                profiles[name], created[name] = profile, revision
            elif profiles[name].canonical == profile.canonical:
                created[name] = min(created[name], revision)
            else:
                said_profiles.append(name)
    for layer in (base["fields"], heard["fields"], entry.fields):
        for name, value in layer.items():
            if fields.setdefault(name, value) is not value and canonical(fields[name]) != canonical(value):
                said_fields.append(name)

    folded = Model(
        sie_id=entry.model_id,
        fields=fields,
        # By the entry that created them, and as that entry lists them: the same order however the entries came.
        profiles={name: profiles[name] for name in sorted(profiles, key=created.__getitem__)},
        source="filesystem"
        if entry.base is not None or (model is not None and model.source == "filesystem")
        else "api",
        revision=max(entry.revision, model.revision if model is not None else 0),
        created=created,
    )
    if not said_profiles and not said_fields:
        return folded, None
    return folded, Conflict(entry.model_id, entry.revision, tuple(said_profiles), tuple(said_fields))


def overlay(file: Model, logged: Model) -> Model:
    """A local file under what the log says of the same model.

    Once the log has the base of a filesystem model, that base is the file's content everywhere and the file no longer
    counts. Before that, the file adds what the log does not have.
    """
    if logged.source == "filesystem":
        return logged
    created = {**dict.fromkeys(file.profiles, 0), **logged.created}
    profiles = {**file.profiles, **logged.profiles}
    return Model(
        sie_id=logged.sie_id,
        fields={**file.fields, **logged.fields},
        profiles={name: profiles[name] for name in sorted(profiles, key=created.__getitem__)},
        source="filesystem",
        revision=logged.revision,
        created=created,
        stores=logged.stores,
        revisions=logged.revisions,
        disputed=logged.disputed,
    )


def unlogged(file: Model, logged: Model | None) -> Mapping[str, Mapping[str, Json]] | None:
    """The base that the next entry of a filesystem model has to bring; None if the log has one already."""
    if logged is None:
        fields, profiles = file.fields, file.profiles
    elif logged.source == "filesystem":
        return None
    else:
        fields = {name: value for name, value in file.fields.items() if name not in logged.fields}
        profiles = {name: one for name, one in file.profiles.items() if name not in logged.profiles}
    return {"fields": fields, "profiles": {name: one.content for name, one in profiles.items()}}


def unsaid(served: Model, by: Iterable[Model | None]) -> Mapping[str, Mapping[str, Json]] | None:
    """The part of the model as it is served that none of these says; None if they say all of it.

    Without a profile that could not run on what they say.
    """
    fields, profiles = dict(served.fields), dict(served.profiles)
    known: dict[str, Profile] = {}
    for one in by:
        if one is not None:
            known.update(one.profiles)
            for name in one.fields:
                fields.pop(name, None)
    news = {name: one for name, one in profiles.items() if name not in known and runs(one, {**profiles, **known})}
    if not fields and not news:
        return None
    return {"fields": fields, "profiles": {name: one.content for name, one in news.items()}}


def differs(file: Model, merged: Model) -> bool:
    """Whether the file says anything that is not so, or not there, in the model as it is served."""
    return any(
        name not in merged.profiles or merged.profiles[name].canonical != one.canonical
        for name, one in file.profiles.items()
    ) or any(
        name not in merged.fields or canonical(merged.fields[name]) != canonical(value)
        for name, value in file.fields.items()
    )
