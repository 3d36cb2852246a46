"""Changing a history: one event, or some, replaced by others."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from spec.history import Event

E = TypeVar("E", bound=Event)
Mutated: TypeAlias = "list[Event] | None"


@dataclass(frozen=True)
class Mutation:
    """`breaks`: the guarantee that is then broken, perhaps beside others."""

    breaks: str
    make: Callable[[Sequence[Event], random.Random], Mutated]


def changed_all(history: Sequence[Event], *changes: tuple[Event, Sequence[Event]]) -> list[Event]:
    """Each of these events replaced."""
    instead = {id(event): news for event, news in changes}
    return [new for event in history for new in instead.get(id(event), (event,))]


def changed(history: Sequence[Event], chance: random.Random, choices: Sequence[tuple[E, E]]) -> Mutated:
    """One of these events replaced by what is beside it."""
    if not choices:
        return None
    event, other = chance.choice(choices)
    return changed_all(history, (event, (other,)))
