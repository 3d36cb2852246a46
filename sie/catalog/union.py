# Rule: the same parts make the same model in every process, whichever of the stores is its own.
"""One model out of what several stores say of it, for routers that share no store and hear of each other's changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sie.catalog.canonical import Json, canonical
from sie.catalog.model import Model, Profile


def unite(parts: Sequence[tuple[str, Model]], *, own: str) -> Model:
    """`parts`: a store's id and its fold of the model, of at least one store, the lowest id first.

    Where two say something differently the lower id's is served, and `disputed` of the model tells who says otherwise.
    A profile that rests on a parent which another store's has taken the place of, and cannot run on that, is left out.
    `revision` and `created` are numbers of the stores named in `stores`; of `own` where none is named.
    """
    if len(parts) == 1 and parts[0][0] == own:
        return parts[0][1]
    fields: dict[str, Json] = {}
    profiles: dict[str, Profile] = {}
    said: dict[str, list[str]] = {}  # path -> the stores that say it, the served one first
    disputed: set[str] = set()
    for store, part in parts:
        for name, value in part.fields.items():
            said.setdefault(name, []).append(store)
            if canonical(fields.setdefault(name, value)) != canonical(value):
                disputed.add(name)
        for name, profile in part.profiles.items():
            path = _path(name)
            said.setdefault(path, []).append(store)
            if profiles.setdefault(name, profile).canonical != profile.canonical:
                disputed.add(path)
    fit = {name: profile for name, profile in profiles.items() if runs(profile, profiles)}
    by_store = dict(parts)
    served_by = {name: said[_path(name)][0] for name in fit}
    source: Literal["filesystem", "api"] = (
        "filesystem" if any(part.source == "filesystem" for _, part in parts) else "api"
    )
    return Model(
        sie_id=parts[0][1].sie_id,
        fields=fields,
        profiles=fit,
        source=source,
        revision=by_store[own].revision if own in by_store else 0,
        created={name: by_store[store].created[name] for name, store in served_by.items()},
        stores={name: store for name, store in served_by.items() if store != own},
        revisions={store: part.revision for store, part in parts},
        disputed=_disputed(disputed | {_path(one) for one in profiles.keys() - fit.keys()}, said),
    )


def runs(profile: Profile, profiles: Mapping[str, Profile]) -> bool:
    """Whether it has an adapter, its own or that of a parent that has no parent itself."""
    if profile.extends is None:
        return profile.adapter_path is not None
    parent = profiles.get(profile.extends)
    return parent is not None and parent.extends is None and (profile.adapter_path or parent.adapter_path) is not None


def _path(profile: str) -> str:
    return f"profiles.{profile}"


def _disputed(paths: set[str], said: Mapping[str, Sequence[str]]) -> Mapping[str, tuple[str, ...]]:
    return {path: tuple(said[path]) for path in sorted(paths)}
