"""What every bus promises: to pass on hints, early and at no cost to truth."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import trio

from sie.catalog.entry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One entry on its way. `previous`: for each bundle it touches, the revision that touched that bundle before."""

    store: str  # the id of the store the entry lies in
    entry: Entry
    previous: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """A model that was there when it was posted again, for those who missed it: the others find nothing new.

    `heads`: its bundles, each with the revision that touched it last.
    """

    store: str
    model_id: str
    profiles: tuple[str, ...]
    heads: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The newest entry of `store` that touches the follower's bundle is `revision`: whoever lacks it reads it there."""

    store: str
    revision: int


@dataclass(frozen=True, slots=True)
class Nudge:
    """Something may have been missed: read the truth."""


Hint: TypeAlias = Notice | Elsewhere | Nudge


class Bus(Protocol):
    """Carries notices to those who follow a bundle. It may lose, double, delay and reorder them."""

    @property
    def connected(self) -> bool:
        """Whether a publish would be tried. While False, the Config API takes no change."""

    async def publish(self, notice: Notice) -> None:
        """Pass the notice on to everyone who follows a bundle it touches.

        Raises BusUnavailable if it has reached nobody, as far as that can be told. Cancelled: it may have reached some.
        """

    async def remind(self, reminder: Reminder) -> None:
        """Say again, to everyone who follows a bundle of the model, that it is there. Raises as `publish` does."""

    def nudge(self) -> None:
        """Have every follower in this process read the truth. For what was not published by this process."""

    def follow(self, bundle: str) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        """Hear of the bundle's entries until the context ends: from now on, or, where listening takes a moment, from
        the first Nudge on. A slow listener misses some, and is nudged."""
