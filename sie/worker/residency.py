# Rule: pure. Nothing here awaits, reads a clock or touches a device; times are told, in seconds of one clock.
"""Which models are on the device, which may have to go, and which may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sie.worker.identity import LoadIdentity


class State(Enum):
    """The values are the wire's words, which say "loaded" for resident."""

    AVAILABLE = "available"
    LOADING = "loading"
    RESIDENT = "loaded"
    UNLOADING = "unloading"
    FAILED = "failed"


class Event(Enum):
    WANTED = "wanted"
    LOADED = "loaded"
    LOAD_FAILED = "load failed"
    EVICTED = "evicted"
    RELEASED = "released"


NEXT: Mapping[tuple[State, Event], State] = {
    (State.AVAILABLE, Event.WANTED): State.LOADING,
    (State.LOADING, Event.LOADED): State.RESIDENT,
    (State.LOADING, Event.LOAD_FAILED): State.FAILED,
    (State.FAILED, Event.WANTED): State.LOADING,
    (State.RESIDENT, Event.EVICTED): State.UNLOADING,
    (State.UNLOADING, Event.RELEASED): State.AVAILABLE,
}
HOLDS_MEMORY = frozenset({State.LOADING, State.RESIDENT, State.UNLOADING})


class IllegalMove(Exception):
    """An event that makes no sense in that state; nothing was changed."""


class Verdict(Enum):
    FITS = "fits once the victims are gone"
    WAIT = "fits once somebody is done"
    NEVER = "larger than the whole budget"


@dataclass(frozen=True, slots=True)
class Room:
    """What must happen before so many bytes fit: `victims` in the order they go."""

    verdict: Verdict
    victims: tuple[LoadIdentity, ...] = ()


@dataclass(slots=True)
class Place:
    """One model's line in the table."""

    state: State = State.AVAILABLE
    memory_bytes: int = 0  # estimated while loading, then measured
    used_at: float = 0.0
    holds: int = 0  # requests that have work in hand: queued, running, or being answered
    failures: int = 0  # in a row
    retry_at: float = 0.0
    reason: str = ""


class Residency:
    """The table. `budget_bytes` is None until the device has been asked."""

    def __init__(self, budget_bytes: int | None = None) -> None:
        self.budget_bytes = budget_bytes
        self._places: dict[LoadIdentity, Place] = {}

    def place(self, identity: LoadIdentity) -> Place:
        """The model's line, made on first sight."""
        return self._places.setdefault(identity, Place())

    def states(self) -> Mapping[LoadIdentity, Place]:
        return self._places

    def move(self, identity: LoadIdentity, event: Event) -> State:
        """The one mover. Raises IllegalMove and changes nothing."""
        place = self.place(identity)
        try:
            place.state = NEXT[place.state, event]
        except KeyError:
            raise IllegalMove(f"{identity}: {event.value} while {place.state.value}") from None
        return place.state

    def loaded(self, identity: LoadIdentity, memory_bytes: int, now: float) -> None:
        self.move(identity, Event.LOADED)
        place = self.place(identity)
        place.memory_bytes, place.used_at, place.failures, place.reason = memory_bytes, now, 0, ""

    def failed(self, identity: LoadIdentity, reason: str, now: float, *, first_s: float, most_s: float) -> None:
        """Back off: `first_s` after the first failure, doubled each time, never above `most_s`."""
        self.move(identity, Event.LOAD_FAILED)
        place = self.place(identity)
        place.retry_at = now + min(first_s * 2 ** min(place.failures, 30), most_s)
        place.memory_bytes, place.reason = 0, reason
        place.failures += 1

    def released(self, identity: LoadIdentity) -> None:
        self.move(identity, Event.RELEASED)
        self.place(identity).memory_bytes = 0

    def used_bytes(self) -> int:
        return sum(place.memory_bytes for place in self._places.values() if place.state in HOLDS_MEMORY)

    def idle(self) -> list[LoadIdentity]:
        """Resident models nobody has work for, the one used longest ago first."""
        resident = [
            (place.used_at, order, identity)
            for order, (identity, place) in enumerate(self._places.items())
            if place.state is State.RESIDENT and not place.holds
        ]
        return [identity for _, _, identity in sorted(resident, key=lambda one: one[:2])]

    def room_for(self, identity: LoadIdentity, memory_bytes: int) -> Room:
        """What it takes for this model, now loading, to have so many bytes. Victims are as few as will do."""
        if self.budget_bytes is None:
            return Room(Verdict.FITS)
        if memory_bytes > self.budget_bytes:
            return Room(Verdict.NEVER)
        excess = self.used_bytes() - self.place(identity).memory_bytes + memory_bytes - self.budget_bytes
        victims: list[LoadIdentity] = []
        for candidate in self.idle():
            if excess <= 0:
                break
            excess -= self.place(candidate).memory_bytes
            victims.append(candidate)
        return Room(Verdict.FITS, tuple(victims)) if excess <= 0 else Room(Verdict.WAIT)
