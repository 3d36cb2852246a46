"""What one bundle's worker knows: a catalog of its own, how far it is complete, and what it cannot take on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sie.bus.contract import Hint, Nudge
from sie.catalog.adapters import find_adapter
from sie.catalog.catalog import Catalog
from sie.catalog.coverage import Coverage
from sie.catalog.model import Model
from sie.wire.status import Nack


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """The truth about one bundle as of `revision`: the models that an asker lacks."""

    store: str
    revision: int
    models: Sequence[Model]


class CatchUp(Protocol):
    """Reads the truth: what happened to `bundle` in `store` after revision `since`."""

    async def __call__(self, bundle: str, store: str, since: int) -> CaughtUp: ...


class BundleCatalog:
    """The catalog as one bundle's worker has it. Applying commutes; what was read replaces what was heard."""

    def __init__(self, name: str, fresh: Callable[[], Catalog]) -> None:
        self.name = name
        self.store = ""
        self.catalog = fresh()
        self.nacks: dict[tuple[str, str], Nack] = {}
        self._fresh = fresh
        self._coverage = Coverage()
        self._must_look = False

    @property
    def complete_to(self) -> int:
        """Every entry of this bundle up to this revision of `store` is known."""
        return self._coverage.complete_to

    @property
    def misses_something(self) -> bool:
        return self._must_look or self._coverage.gap

    def apply(self, hint: Hint) -> None:
        """Take on what was heard, at once and provisionally."""
        if isinstance(hint, Nudge) or hint.store != self.store:
            self._must_look = True  # of another store than the one followed so far, only reading it tells what holds
            return
        self._judge(self.catalog.apply(hint.entry))
        self._coverage.heard(hint.entry.revision, hint.previous[self.name])

    def replace(self, caught_up: CaughtUp) -> None:
        """Take on what was read; it wins over everything heard. Another store starts a new catalog."""
        if caught_up.store != self.store:
            self.store = caught_up.store
            self.catalog, self._coverage = self._fresh(), Coverage()
            self.nacks.clear()
        self.catalog.restore(caught_up.revision, caught_up.models)
        for model in caught_up.models:
            self._judge(model)
        self._coverage.read_to(caught_up.revision)
        self._must_look = False

    def _judge(self, model: Model | None) -> None:
        """Note the profiles of this bundle whose adapter this build lacks; other bundles' are no business here."""
        if model is None:
            return
        for profile in model.profiles:
            if self.name not in self.catalog.bundles_of(model, profile):
                continue
            adapter = model.resolve(profile).adapter_path
            if find_adapter(adapter) is None:
                reason = f"this worker has no adapter {adapter}"
                self.nacks[model.sie_id, profile] = Nack(model.sie_id, profile, reason)
