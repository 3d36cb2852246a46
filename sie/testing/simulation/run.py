"""One schedule, to its history and what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from sie.testing.simulation.clock import JumpingClock
from sie.testing.simulation.cluster import SimulatedCluster
from sie.testing.simulation.repeatable import repeatable
from sie.testing.simulation.schedule import FAULTS_S, Schedule
from sie.testing.simulation.world import World
from spec.history import About, Event, write_history
from spec.judge import judge

# All is well for so long before everybody is asked what they know: a write that lands late, and two looks after it.
LEVEL_S = 22.0

# Messages. The busiest of 400 schedules had 99; routers that answer each other without end reach thousands.
_FLOOD_A_SECOND = 250


@dataclass(frozen=True, slots=True)
class Run:
    """What happened. `broken`: guarantee, and what breaks it; a process that fails by itself breaks one too."""

    events: Sequence[Event]
    broken: tuple[tuple[str, str], ...]


def run(schedule: Schedule) -> Run:
    """Play it, and judge. The same schedule gives the same run, bit for bit, with the same Python and trio."""
    world = World(schedule.seed)
    failed: list[tuple[str, str]] = []
    with repeatable(schedule.seed), _quiet():
        try:
            trio.run(_play, schedule, world, clock=JumpingClock(world))
        except Exception:
            failed.append(("nobody-fails", traceback.format_exc()))
    most_said = max(world.messages.values(), default=0)
    if most_said > _FLOOD_A_SECOND:
        failed.append(("nobody-floods", f"{most_said} messages went over the bus within a second"))
    events = [About(source=f"simulation, seed {schedule.seed}"), *world.seen]
    broken = [] if failed else [(one.guarantee, str(one)) for one in judge(events)]
    return Run(events, (*failed, *broken))


async def _play(schedule: Schedule, world: World) -> None:
    await SimulatedCluster(schedule, world).play(until_s=FAULTS_S, level_s=LEVEL_S)


def fingerprint(played: Run) -> str:
    """Equal where two runs were the same to the last bit."""
    written = io.StringIO()
    write_history(played.events, written)
    return hashlib.sha256(written.getvalue().encode()).hexdigest()[:16]


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
