"""What one bundle's worker knows: a catalog of its own, how far it is complete, and what it cannot take on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sie.bus.contract import Elsewhere, Hint, Nudge
from sie.catalog.adapters import find_adapter
from sie.catalog.catalog import SUGGESTED, Catalog
from sie.catalog.coverage import Coverage
from sie.catalog.entry import Entry
from sie.catalog.model import Model
from sie.turns import in_turns
from sie.wire.status import Nack

# Stores that were heard of and not yet found out about; a crowd of invented ones must not fill the memory.
_UNKNOWN_MOST = 64

# Readings of the truth that do not name a store which was heard of, before that word is taken for forged.
_BELIEVED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one store says of a bundle as of `revision`: the models that an asker lacks; all of them if `whole`."""

    store: str
    revision: int
    models: Sequence[Model]
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """The truth about one bundle. One part, but where routers share no store; what no part is of counts no more."""

    parts: Sequence[Part]


class CatchUp(Protocol):
    """Reads the truth about `bundle`; None if nobody can say now.

    `known`: the stores that the asker follows, and up to which revision it knows each.
    """

    async def __call__(self, bundle: str, known: Mapping[str, int]) -> CaughtUp | None: ...


class BundleCatalog:
    """The catalog as one bundle's worker has it: taken on in each log's order, however it was heard.

    `store`: the store whose numbers are the catalog's, "" before any was read.
    """

    def __init__(self, name: str, fresh: Callable[[], Catalog]) -> None:
        self.name = name
        self.catalog = fresh()
        self.nacks: dict[tuple[str, str], Nack] = {}
        self.caught_up = False  # whether the truth has been read once
        self._fresh = fresh
        self._stores: dict[str, Coverage] = {}
        self._must_look = False
        self._unknown: dict[str, int] = {}  # stores that were heard of: readings left to find out what they are

    @property
    def store(self) -> str:
        return self.catalog.own

    @property
    def complete_to(self) -> int:
        """Every entry of this bundle up to this revision of `store` is known."""
        return self._stores[self.store].complete_to if self.store in self._stores else 0

    @property
    def known(self) -> Mapping[str, int]:
        """The same of every store that is followed."""
        return {store: one.complete_to for store, one in self._stores.items()}

    @property
    def gap(self) -> bool:
        """Whether something was heard of whose forerunner was not."""
        return any(one.gap for one in self._stores.values())

    @property
    def misses_something(self) -> bool:
        return self._must_look or self.gap or bool(self._unknown)

    def apply(self, hint: Hint) -> None:
        """Take on what was heard, at once, if everything before it is known; else keep it until that is.

        What stands past a gap may lack what it rests on, a parent or the rest of its model, and routers send no
        traffic for it here before the gap is closed.
        """
        if isinstance(hint, Nudge):
            self._must_look = True
        elif hint.store not in self._stores:  # only reading the truth tells whether it counts
            if len(self._unknown) < _UNKNOWN_MOST:
                self._unknown.setdefault(hint.store, _BELIEVED)
        elif isinstance(hint, Elsewhere):
            self._stores[hint.store].told(hint.revision)
        else:
            for entry in self._stores[hint.store].heard(hint.entry, hint.previous[self.name]):
                self._take(entry, hint.store)

    def suggest(self, entry: Entry) -> None:
        """Take on what has no place in any store's order, behind what any store says; it counts as nothing known."""
        self._take(entry, SUGGESTED)

    def _take(self, entry: Entry, store: str) -> None:
        if (model := self.catalog.apply(entry, store)) is not None:
            self.nacks.update(_refused(self.name, self.catalog, model))

    async def replace(self, caught_up: CaughtUp | None) -> None:
        """Take on what was read; it wins over everything heard. What is not added to starts a new catalog, seen when
        whole.

        None, as nobody could say, changes nothing, and something is still to be looked for.
        `complete_to` moves last. Cancelled, or raising on the way: it is as it was, and some models are known early.
        """
        if caught_up is None:
            self._must_look = True
            return
        parts = {part.store: part for part in caught_up.parts}
        kept = dict.fromkeys(part.store for part in caught_up.parts if part.store in self._stores and not part.whole)
        if kept.keys() == self._stores.keys() and (kept or not parts):
            await self._add(parts)
        else:
            await self._begin(parts, kept)
        for store, left in list(self._unknown.items()):
            if store in parts or left <= 1:
                del self._unknown[store]
            else:
                self._unknown[store] = left - 1
        self._must_look, self.caught_up = False, True
        for store, part in parts.items():
            for entry in self._stores[store].read_to(part.revision):
                self._take(entry, store)

    async def _add(self, parts: Mapping[str, Part]) -> None:
        """To the catalog as it stands."""
        news = [(store, model) for store, part in parts.items() for model in self._news(part)]
        await in_turns(news, lambda one: _restore(self.name, self.catalog, self.nacks, *one))
        for store, part in parts.items():
            self._stores.setdefault(store, Coverage(part.revision))

    async def _begin(self, parts: Mapping[str, Part], kept: Collection[str]) -> None:
        """A new catalog of these parts, and of what is known already of the stores that are `kept`."""
        catalog, nacks = self._fresh(), dict[tuple[str, str], Nack]()
        catalog.own = self.store if self.store in parts else min(parts, default="")
        news = [
            *((store, model) for store in (*kept, SUGGESTED) for model in self._said_by(store)),
            *((store, model) for store, part in parts.items() for model in self._news(part)),
        ]
        await in_turns(news, lambda one: _restore(self.name, catalog, nacks, *one))
        self._stores = {
            store: self._stores[store] if store in kept else Coverage(part.revision) for store, part in parts.items()
        }
        self.catalog, self.nacks = catalog, nacks

    def _news(self, part: Part) -> Sequence[Model]:
        """What the part adds: a reading from before says nothing new, and less."""
        known = self._stores.get(part.store)
        return part.models if known is None or part.whole or part.revision >= known.complete_to else ()

    def _said_by(self, store: str) -> Sequence[Model]:
        if store == self.store:
            return self.catalog.logged()
        return list(self.catalog.others().get(store, {}).values())


def _restore(bundle: str, catalog: Catalog, nacks: dict[tuple[str, str], Nack], store: str, logged: Model) -> None:
    if store == catalog.own:
        catalog.restore(logged.revision, (logged,))
    else:
        catalog.hear(store, (logged,))
    model = catalog.find(logged.sie_id)
    assert model is not None, f"{logged.sie_id} was just taken on"
    nacks.update(_refused(bundle, catalog, model))
    catalog.digest(bundle)  # asked for here, so that not all models are hashed at once in the end


def _refused(bundle: str, catalog: Catalog, model: Model) -> Iterator[tuple[tuple[str, str], Nack]]:
    """The profiles of this bundle whose adapter this build lacks; other bundles' are no business here."""
    for profile in model.profiles:
        adapter = model.adapter_path(profile)
        if find_adapter(adapter) is None and bundle in catalog.bundles_of(model, profile):
            yield (model.sie_id, profile), Nack(model.sie_id, profile, f"this worker has no adapter {adapter}")
