"""Keeping one bundle's worker alive: a crash of one is nobody else's."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import trio

from sie.bus.contract import Bus
from sie.router.fleet import Fleet
from sie.worker.follow import CatchUp
from sie.worker.worker import Worker

log = logging.getLogger(__name__)

# Seconds between restarts of a crashed bundle: soon enough that a passing fault is hardly seen, and not a busy loop.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0


def pauses() -> Iterator[float]:
    """0.1, 0.2, 0.4 … 30, 30 … seconds."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)


async def supervise(
    worker: Worker,
    *,
    bus: Bus,
    catch_up: CatchUp,
    fleet: Fleet,
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

    for pause in pauses():
        with worker.begin():
            try:
                await worker.run(bus=bus, catch_up=catch_up, report=fleet.heard, on_ready=started)
            except Exception:
                log.exception("bundle %s crashed; it starts again in %.1f s", worker.bundle, pause)
            finally:
                fleet.left(worker.name)
        started()
        await trio.sleep(pause)
