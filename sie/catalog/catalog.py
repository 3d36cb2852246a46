# Rule: one owner, one place that changes anything (`_put`), and no step that costs more with more models.
"""The catalog: all models and profiles a process knows, as a fold of entries over its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from sie.catalog.adapters import module_of
from sie.catalog.bundle import Bundle
from sie.catalog.canonical import Json
from sie.catalog.digest import BundleSums
from sie.catalog.entry import Entry
from sie.catalog.fold import Conflict, differs, fold, overlay, unlogged, unsaid
from sie.catalog.model import Model
from sie.catalog.union import unite

# In a store's place, behind all stores: what none of them says, as a router of SIE v0.1.10 announced it.
SUGGESTED = "~"


class Catalog:
    """Updated in place by one owner; the models it gives out are frozen.

    Applying entries commutes and can be repeated: whatever the order, the same catalog comes out.
    `bundles` by priority, then name. `head`: the revision up to which every entry is in, see `advance`.
    `conflicts`: what entries said against existing content. `differing_files`: ids whose file the log overrules.

    `changes`: grows with each model that is put in.

    `own`: the id of the store whose entries these are. What other stores say, where routers share none, is kept apart
    and served together with it, see `unite`; numbers here are of the own store unless another is named.
    """

    def __init__(self, bundles: Iterable[Bundle], *, origin: int = 0) -> None:
        """`origin`: the revision before the first entry. Raises ValueError for bundle ids equal but for case."""
        ordered = sorted(bundles, key=lambda one: (one.priority, one.bundle_id))
        if len({one.bundle_id.lower() for one in ordered}) < len(ordered):
            raise ValueError(f"bundle names must differ in more than case: {', '.join(b.bundle_id for b in ordered)}")
        self.bundles: Mapping[str, Bundle] = MappingProxyType({one.bundle_id: one for one in ordered})
        self.own = ""
        self.head = origin
        self.changes = 0
        self._origin = origin
        self.imported_epoch: int | None = None  # of a SIE v0.1.10 store, once all of it is in the log
        self.conflicts: list[Conflict] = []
        self.differing_files: set[str] = set()
        self._bundles_with: dict[str, list[str]] = {}
        for bundle in ordered:
            for module in bundle.adapters:
                self._bundles_with.setdefault(module, []).append(bundle.bundle_id)
        self._files: dict[str, Model] = {}
        self._logged: dict[str, Model] = {}  # the fold of entries alone
        self._others: dict[str, dict[str, Model]] = {}  # store -> the same, of its entries
        self._models: dict[str, Model] = {}  # all three: what is served; shares its values with them
        self._ids: list[str] = []
        self._ids_sorted = True
        self._spellings: dict[str, list[str]] = {}  # case-folded id -> ids, sorted
        self._members: dict[str, dict[str, None]] = {name: {} for name in self.bundles}
        self._heads = dict.fromkeys(self.bundles, origin)
        self._sums = BundleSums(self.bundles)

    def files_only(self) -> Catalog:
        """A new catalog of the same bundles and files, with no entry in it: what this one was before its first."""
        fresh = Catalog(self.bundles.values(), origin=self._origin)
        for model in self._files.values():
            fresh.add_file(model)
        return fresh

    def without_log(self, own: str) -> Catalog:
        """A new catalog of the same files and of what other stores say, for the log of the store `own`."""
        fresh = self.files_only()
        fresh.own = own
        fresh.hear_all(self, but=own)
        return fresh

    def without(self, store: str) -> Catalog:
        """A new catalog that is the same but for what this other store says."""
        fresh = self.files_only()
        fresh.own = self.own
        fresh.restore(self.head, self._logged.values())
        fresh.imported_epoch = self.imported_epoch
        fresh.hear_all(self, but=store)
        return fresh

    # -- changing it

    def add_file(self, model: Model) -> None:
        """A filesystem model. Raises ValueError if one is known whose id is the same, or the same but for case."""
        known = self.find(model.sie_id)
        if known is not None and (known.sie_id != model.sie_id or model.sie_id in self._files):
            raise ValueError(f"{model.sie_id} is already known as {known.sie_id}: ids must differ in more than case")
        self._files[model.sie_id] = model
        self._serve(model.sie_id)

    def apply(self, entry: Entry, store: str | None = None) -> Model | None:
        """Take an entry in, in any order, any number of times; returns its model, or None for a marker.

        `store`: another than its own.

        An entry that contradicts what exists adds to `conflicts` and changes nothing that exists.
        """
        if store == self.own:
            store = None
        if entry.marker is not None:
            if store is None:
                self.imported_epoch = cast("int", entry.marker["imported_epoch"])
            return None
        log = self._logged if store is None else self._others.setdefault(store, {})
        log[entry.model_id], conflict = fold(log.get(entry.model_id), entry)
        if conflict is not None and conflict not in self.conflicts:
            self.conflicts.append(conflict)
        return self._serve(entry.model_id)

    def advance(self, entry: Entry) -> Model | None:
        """Apply the entry after `head`, and move `head` to it. Raises ValueError, changing nothing, for any other."""
        if entry.revision != self.head + 1:
            raise ValueError(f"revision {entry.revision} does not follow {self.head}")
        model = self.apply(entry)
        self.head = entry.revision
        return model

    def restore(self, revision: int, logged: Iterable[Model]) -> None:
        """Take in models as another fold of the log has them (`logged`, a snapshot), which is complete to `revision`.

        Each replaces what entries made of it here.
        """
        for model in logged:
            self._logged[model.sie_id] = model
            self._serve(model.sie_id)
        self.head = revision

    def hear(self, store: str, logged: Iterable[Model]) -> None:
        """Take in models as the fold of another store's log has them. Each replaces what was heard of it before."""
        heard = self._others.setdefault(store, {})
        for model in logged:
            heard[model.sie_id] = model
            self._serve(model.sie_id)

    def hear_all(self, catalog: Catalog, *, but: str = "") -> None:
        """Take in what other stores say as that catalog has it."""
        for store, logged in catalog.others().items():
            if store != but:
                self.hear(store, logged.values())

    def _serve(self, model_id: str) -> Model:
        own = self._logged.get(model_id)
        model = self._merged(model_id, own)
        assert model is not None, f"{model_id} has neither file nor entry"
        suggested = model_id in self._others.get(SUGGESTED, {})
        return self._put(model, counted=self._merged(model_id, own, suggested=False) if suggested else model)

    def _merged(self, model_id: str, own: Model | None, *, suggested: bool = True) -> Model | None:
        """The model as it would be served if the own log's entries made `own` of it, with what is suggested or without.

        None if nobody says anything of it.
        """
        file = self._files.get(model_id)
        logged = own
        if self._others:
            parts = [
                (store, log[model_id])
                for store, log in self._others.items()
                if model_id in log and (suggested or store != SUGGESTED)
            ]
            if parts:
                logged = unite(sorted([*parts, *([(self.own, own)] if own is not None else [])]), own=self.own)
        return overlay(file, logged) if file is not None and logged is not None else logged or file

    def _put(self, model: Model, *, counted: Model | None) -> Model:
        """`counted`: the model as the digest has it, which is to agree with other processes'; None: not at all."""
        model_id = model.sie_id
        self.changes += 1
        before = self._models.get(model_id)
        self._models[model_id] = model
        if before is None:
            self._ids_sorted = not self._ids or (self._ids_sorted and self._ids[-1] < model_id)
            self._ids.append(model_id)
            self._spellings[model_id.lower()] = sorted([*self._spellings.get(model_id.lower(), ()), model_id])
        bundles = self.bundles_of(model)
        if before is not None:
            for gone in set(self.bundles_of(before)) - set(bundles):
                del self._members[gone][model_id]
        for bundle_id in bundles:
            self._members[bundle_id][model_id] = None
            self._heads[bundle_id] = max(self._heads[bundle_id], model.revision)
        self._sums.put(counted or model, bundles if counted is model else self.bundles_of(counted) if counted else ())
        file = self._files.get(model_id)
        if file is not None and differs(file, model):
            self.differing_files.add(model_id)
        else:
            self.differing_files.discard(model_id)
        return model

    # -- asking it

    def find(self, name: str) -> Model | None:
        """The model of that id; without one, of an id equal but for case (the first by id, if a log has several)."""
        exact = self._models.get(name)
        if exact is not None:
            return exact
        spellings = self._spellings.get(name.lower())
        return self._models[spellings[0]] if spellings else None

    def bundle(self, name: str) -> Bundle | None:
        """The bundle of that name, in whatever case it is written: no two differ in case alone."""
        return next((one for key, one in self.bundles.items() if key.lower() == name.lower()), None)

    def models(self) -> Sequence[Model]:
        """All of them, by id."""
        if not self._ids_sorted:
            self._ids.sort()
            self._ids_sorted = True
        return [self._models[one] for one in self._ids]

    def logged(self) -> Sequence[Model]:
        """What the entries alone make, for a snapshot: the models are frozen, the list is the caller's."""
        return list(self._logged.values())

    def others(self) -> Mapping[str, Mapping[str, Model]]:
        """What the entries of each other store make, by model id. To read, not to keep."""
        return self._others

    def part(self, store: str, model_id: str) -> Model | None:
        """What the entries of one store make of the model, its own or another."""
        return (self._logged if store == self.own else self._others.get(store, {})).get(model_id)

    def base_of(self, model_id: str) -> Mapping[str, Mapping[str, Json]] | None:
        """What the next entry of this model must bring as `base`: its file's content, if no entry has yet."""
        file = self._files.get(model_id)
        return unlogged(file, self._logged.get(model_id)) if file is not None else None

    def heard_of(self, model_id: str) -> Mapping[str, Mapping[str, Json]] | None:
        """What the next entry of this model must bring as `heard`: what other stores alone say of it, if they do."""
        served = self._models.get(model_id)
        if served is None or not served.revisions:
            return None
        return unsaid(served, (self._logged.get(model_id), self._files.get(model_id)))

    def bundles_of(self, model: Model, profile: str | None = None) -> tuple[str, ...]:
        """The bundles that can run the profile, or any profile of the model, by priority.

        Raises KeyError for an unknown profile.
        """
        if profile is not None:
            return tuple(self._bundles_with.get(module_of(model.adapter_path(profile)), ()))
        modules = {module_of(one.adapter_path) for one in model.profiles.values() if one.adapter_path is not None}
        if len(modules) == 1:
            return tuple(self._bundles_with.get(modules.pop(), ()))
        found = {bundle_id for module in modules for bundle_id in self._bundles_with.get(module, ())}
        return tuple(bundle_id for bundle_id in self.bundles if bundle_id in found)

    def in_bundle(self, bundle_id: str) -> Sequence[Model]:
        """The models that have a profile in the bundle, in no order. Raises KeyError for an unknown bundle."""
        return [self._models[one] for one in self._members[bundle_id]]

    def bundle_size(self, bundle_id: str) -> int:
        """How many models have a profile in the bundle. Raises KeyError for an unknown bundle."""
        return len(self._members[bundle_id])

    def bundle_head(self, bundle_id: str) -> int:
        """The newest revision that touched the bundle, `origin` before any. Raises KeyError for an unknown bundle."""
        return self._heads[bundle_id]

    def previous(self, entry: Entry) -> Mapping[str, int]:
        """For each bundle an entry will touch, the revision that touched it last. Ask before applying the entry.

        An entry that brings a model into a bundle which earlier entries of the model did not touch is its own
        forerunner there: whoever follows the bundle has not heard those, and must read the model whole.
        """
        if entry.marker is not None:
            return {}
        before = self._logged.get(entry.model_id)
        logged, _ = fold(before, entry)
        followed = self.bundles_of(before) if before is not None else self.bundles
        model = self._merged(entry.model_id, logged)
        assert model is not None, "an entry makes a model"
        return {one: self._heads[one] if one in followed else entry.revision for one in self.bundles_of(model)}

    def digest(self, bundle_id: str) -> str:
        """Our own digest of the bundle's models, without what is suggested: 64 hex characters.

        Raises KeyError for an unknown bundle.
        """
        return self._sums.digest(bundle_id)

    def __repr__(self) -> str:
        return f"<Catalog at {self.head}: {len(self._models)} models, {len(self.bundles)} bundles>"
