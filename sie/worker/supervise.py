"""Keeping one bundle's worker alive: a crash of one is nobody else's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

import trio

from sie.bus.contract import Bus
from sie.settings import Settings
from sie.wire.status import WorkerStatus
from sie.worker.follow import CatchUp
from sie.worker.worker import Worker

log = logging.getLogger(__name__)


class Told(Protocol):
    """Whoever keeps how workers stand."""

    def heard(self, status: WorkerStatus) -> None:
        """A worker said how it stands."""

    def left(self, key: str) -> None:
        """A worker is gone, or down."""


def pauses(first_s: float, most_s: float) -> Iterator[float]:
    """Seconds, doubled each time up to the most."""
    pause = first_s
    while True:
        yield pause
        pause = min(pause * 2, most_s)


async def supervise(
    worker: Worker,
    *,
    bus: Bus,
    catch_up: CatchUp,
    fleet: Told,
    settings: Settings,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the worker until cancelled, starting it again when it crashes. While it is down the fleet does not have it.

    Started means that it has caught up once, or crashed once: one broken bundle must not keep the others from serving.
    """
    waiting = True

    def started() -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            task_status.started()

    waits = pauses(settings.restart_s, settings.restart_most_s)
    while True:
        began = trio.current_time()
        with worker.begin():
            try:
                await worker.run(bus=bus, catch_up=catch_up, report=fleet.heard, on_ready=started)
            except Exception:
                log.exception("bundle %s crashed; it will be started again", worker.bundle)
            finally:
                fleet.left(worker.name)
        started()
        if trio.current_time() - began > settings.restart_most_s:
            waits = pauses(
                settings.restart_s, settings.restart_most_s
            )  # it had been well: what happened long ago does not count
        await trio.sleep(next(waits))
