"""Judging: what a change would make of the catalog, or why it may not be made. Pure; the same for a rehearsal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from sie.catalog.adapters import ADAPTERS, LOADTIME_VALUES, find_adapter
from sie.catalog.canonical import Json, canonical
from sie.catalog.catalog import Catalog
from sie.catalog.change import Change, ChangeLimits
from sie.catalog.entry import Entry
from sie.catalog.faults import Faults, shown, under
from sie.catalog.fold import fold
from sie.catalog.inheritance import check_inheritance
from sie.catalog.model import Model
from sie.errors import ContentConflict

# Enough to see what is wrong; a profile can hold thousands of values.
_NAMED_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A change that may be made. `model`: as it would be, its new profiles not yet in `created` of it.

    `created`, `skipped`: profile names in document order. `fields`: the top-level fields that are new. `base`: what
    the entry must carry of the model's file, `heard`: of what other stores say. `changes`: whether anything is new at
    all; if not, there is no entry.
    """

    model: Model
    created: tuple[str, ...]
    skipped: tuple[str, ...]
    fields: Mapping[str, Json]
    base: Mapping[str, Mapping[str, Json]] | None
    heard: Mapping[str, Mapping[str, Json]] | None

    @property
    def changes(self) -> bool:
        return bool(self.created or self.fields)


def judge(catalog: Catalog, change: Change, limits: ChangeLimits, *, lenient: bool = False) -> Verdict:
    """Raises ContentConflict where the change says differently what exists; ValidationError, with every fault, where
    the model would not be a good one.

    `lenient`: accept profiles that nothing here can run, as a store of SIE v0.1.10 may hold them.
    """
    existing = catalog.find(change.model_id)
    if existing is not None and existing.sie_id != change.model_id:
        faults = Faults()
        faults.add("sie_id", f"differs only in case from {existing.sie_id}, which exists")
        raise faults.error()
    if existing is not None:
        _check_conflicts(existing, change)
    verdict = _merge(catalog, existing, change)
    faults = Faults()
    check_inheritance(verdict.model.profiles, verdict.created, faults)
    if not faults and existing is not None and existing.revisions:
        _check_alone(catalog, verdict, faults)
    if not faults and not lenient:
        for name in verdict.created:
            _check_adapter(catalog, verdict.model, name, faults)
    _check_size(verdict.model, limits, faults)
    if verdict.changes and faults:
        raise faults.error()
    return verdict


def draft(
    verdict: Verdict, *, write_id: str, time: str, router_id: str, body_hash: str, idempotency_key: str | None = None
) -> Entry:
    """The entry that makes the verdict true, not yet placed at a revision."""
    model = verdict.model
    return Entry(
        model_id=model.sie_id,
        profiles={name: model.profiles[name].content for name in verdict.created},
        fields=verdict.fields,
        skipped=verdict.skipped,
        base=verdict.base,
        heard=verdict.heard,
        write_id=write_id,
        time=time,
        router_id=router_id,
        body_hash=body_hash,
        idempotency_key=idempotency_key,
    )


def _merge(catalog: Catalog, existing: Model | None, change: Change) -> Verdict:
    if existing is None:
        existing = Model(sie_id=change.model_id, fields={}, profiles={}, source="api", created={})
    created = tuple(name for name in change.profiles if name not in existing.profiles)
    fields = {name: value for name, value in change.fields.items() if name not in existing.fields}
    return Verdict(
        model=replace(
            existing,
            fields={**existing.fields, **fields},
            profiles={**existing.profiles, **{name: change.profiles[name] for name in created}},
        ),
        created=created,
        skipped=tuple(name for name in change.profiles if name in existing.profiles),
        fields=fields,
        base=catalog.base_of(change.model_id),
        heard=catalog.heard_of(change.model_id),
    )


def _check_alone(catalog: Catalog, verdict: Verdict, faults: Faults) -> None:
    """What other stores say may be served in place of what the own log says, on which its profiles have to run."""
    entry = draft(verdict, write_id="", time="", router_id="", body_hash="")
    alone, _ = fold(catalog.part(catalog.own, entry.model_id), entry)
    check_inheritance(alone.profiles, verdict.created, faults)


def _check_conflicts(existing: Model, change: Change) -> None:
    named: list[str] = []
    fields: list[str] = []
    for name, value in change.fields.items():
        if name in existing.fields and canonical(existing.fields[name]) != canonical(value):
            named.append(name)
            fields.append(name)
    profiles = []
    for name, posted in change.profiles.items():
        known = existing.profiles.get(name)
        if known is not None and known.canonical != posted.canonical:
            profiles.append(name)
            named.append(f"profile {name}")
            fields.extend(islice(_differing(under("profiles", name), known.content, posted.content), _NAMED_MOST))
    if named:
        raise ContentConflict(
            f"{existing.sie_id} exists with other content for {', '.join(named[:20])}, and what exists never changes: "
            "send it as it is, leave it out, or choose a new profile name",
            model_id=existing.sie_id,
            conflicting_profiles=profiles,
            conflicting_fields=fields[:_NAMED_MOST],
        )


def _differing(path: str, one: Json, other: Json) -> Iterator[str]:
    """The paths of the smallest parts that differ, or that only one of the two has."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        if canonical(one) != canonical(other):
            yield path
        return
    for key in {**one, **other}:
        if key in one and key in other:
            yield from _differing(under(path, key), one[key], other[key])
        else:
            yield under(path, key)


def _check_adapter(catalog: Catalog, model: Model, name: str, faults: Faults) -> None:
    path = under("profiles", name)
    adapter_path = model.adapter_path(name)
    module, _, class_name = adapter_path.partition(":")
    if not catalog.bundles_of(model, name):
        faults.add(
            under(path, "adapter_path"),
            f"the adapter module {shown(module)} is in no bundle; there are {_modules(catalog)}",
        )
    elif module in ADAPTERS and class_name not in ADAPTERS[module]:
        faults.add(
            under(path, "adapter_path"),
            f"{module} has no class {shown(class_name)}; it has {', '.join(ADAPTERS[module])}",
        )
    adapter = find_adapter(adapter_path)
    if adapter is None:
        return
    for key, value in model.resolve(name).loadtime.items():
        place = under(under(under(path, "adapter_options"), "loadtime"), key)
        if key not in adapter.loadtime:
            faults.add(place, f"this adapter knows {', '.join(sorted(adapter.loadtime))}")
        elif key in LOADTIME_VALUES and canonical(value) not in map(canonical, LOADTIME_VALUES[key]):
            choices = ", ".join(canonical(one).decode() for one in LOADTIME_VALUES[key])
            faults.add(place, f"must be one of {choices}")


def _modules(catalog: Catalog) -> str:
    """The modules of all bundles, brief enough for a message."""
    listed = []
    for bundle in catalog.bundles.values():
        shorter = [module.removeprefix("sie_server.adapters.") for module in bundle.adapters[:8]]
        more = f" and {len(bundle.adapters) - 8} more" if len(bundle.adapters) > 8 else ""
        listed.append(f"{bundle.bundle_id}: {', '.join(shorter)}{more}")
    return "; ".join(listed[:8])


def _check_size(model: Model, limits: ChangeLimits, faults: Faults) -> None:
    if len(model.profiles) > limits.profiles:
        faults.add("profiles", f"there would be {len(model.profiles)}, and a model may have {limits.profiles}")
    size = len(model.canonical)
    if size > limits.model_bytes:
        faults.add("", f"the whole model would take {size} bytes, and may take {limits.model_bytes}")
