"""What one bundle's worker knows: a catalog of its own, how far it is complete, and what it cannot take on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sie.bus.contract import Hint, Nudge
from sie.catalog.adapters import find_adapter
from sie.catalog.catalog import Catalog
from sie.catalog.coverage import Coverage
from sie.catalog.entry import Entry
from sie.catalog.model import Model
from sie.turns import in_turns
from sie.wire.status import Nack


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """The truth about one bundle as of `revision`: the models that an asker lacks."""

    store: str
    revision: int
    models: Sequence[Model]


class CatchUp(Protocol):
    """Reads the truth: what happened to `bundle` in `store` after revision `since`; None if nobody can say now."""

    async def __call__(self, bundle: str, store: str, since: int) -> CaughtUp | None: ...


class BundleCatalog:
    """The catalog as one bundle's worker has it: taken on in the log's order, however it was heard."""

    def __init__(self, name: str, fresh: Callable[[], Catalog]) -> None:
        self.name = name
        self.store = ""
        self.catalog = fresh()
        self.nacks: dict[tuple[str, str], Nack] = {}
        self.caught_up = False  # whether the truth has been read once
        self._fresh = fresh
        self._coverage = Coverage()
        self._must_look = False
        self._heard: dict[int, Entry] = {}  # past a gap

    @property
    def complete_to(self) -> int:
        """Every entry of this bundle up to this revision of `store` is known."""
        return self._coverage.complete_to

    @property
    def gap(self) -> bool:
        """Whether something was heard of whose forerunner was not."""
        return self._coverage.gap

    @property
    def misses_something(self) -> bool:
        return self._must_look or self.gap

    def apply(self, hint: Hint) -> None:
        """Take on what was heard, at once, if everything before it is known; else keep it until that is.

        What stands past a gap may lack what it rests on, a parent or the rest of its model, and routers send no
        traffic for it here before the gap is closed.
        """
        if isinstance(hint, Nudge) or hint.store != self.store:
            self._must_look = True  # of another store than the one followed so far, only reading it tells what holds
            return
        revision = hint.entry.revision
        if revision > self.complete_to:
            self._heard[revision] = hint.entry
            self._coverage.heard(revision, hint.previous[self.name])
            self._take_what_is_complete()

    def _take_what_is_complete(self) -> None:
        for revision in sorted(one for one in self._heard if one <= self.complete_to):
            self.suggest(self._heard.pop(revision))

    def suggest(self, entry: Entry) -> None:
        """Take on, provisionally, what has no place in any store's order; it counts as nothing known."""
        if (model := self.catalog.apply(entry)) is not None:
            self.nacks.update(_refused(self.name, self.catalog, model))

    async def replace(self, caught_up: CaughtUp | None) -> None:
        """Take on what was read; it wins over everything heard. Another store starts a new catalog, seen when whole.

        None, as nobody could say, changes nothing, and something is still to be looked for.
        `complete_to` moves last. Cancelled, or raising on the way: it is as it was, and some models are known early.
        """
        if caught_up is None:
            self._must_look = True
            return
        catalog, coverage, nacks = self.catalog, self._coverage, self.nacks
        if caught_up.store != self.store:
            catalog, coverage, nacks = self._fresh(), Coverage(), {}

        def take(model: Model) -> None:
            catalog.restore(caught_up.revision, (model,))
            nacks.update(_refused(self.name, catalog, model))
            catalog.digest(self.name)  # asked for here, so that not all models are hashed at once in the end

        if caught_up.revision >= coverage.complete_to:  # a reading from before says nothing new, and less
            await in_turns(caught_up.models, take)
        coverage.read_to(caught_up.revision)
        if caught_up.store != self.store:
            self._heard.clear()
        self.store, self.catalog, self._coverage, self.nacks = caught_up.store, catalog, coverage, nacks
        self._must_look, self.caught_up = False, True
        for revision in [one for one in self._heard if one <= caught_up.revision]:
            del self._heard[revision]  # read
        self._take_what_is_complete()


def _refused(bundle: str, catalog: Catalog, model: Model) -> Iterator[tuple[tuple[str, str], Nack]]:
    """The profiles of this bundle whose adapter this build lacks; other bundles' are no business here."""
    for profile in model.profiles:
        if bundle not in catalog.bundles_of(model, profile):
            continue
        adapter = model.resolve(profile).adapter_path
        if find_adapter(adapter) is None:
            yield (model.sie_id, profile), Nack(model.sie_id, profile, f"this worker has no adapter {adapter}")
