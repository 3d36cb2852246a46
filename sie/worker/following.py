"""Following one bundle for as long as a worker process runs: heard of early, looked for when missed, never waited for
without end."""

from __future__ import annotations

import logging
import random
from functools import partial

import trio

from sie.bus.contract import Bus
from sie.settings import Settings
from sie.worker.follow import CatchUp
from sie.worker.standing import Standing
from sie.worker.supervise import pauses, supervise
from sie.worker.worker import Worker

log = logging.getLogger(__name__)

_FIRST_LOOK_S = 0.05  # before the second look for what is missing; doubled each time


async def keep_following(worker: Worker, *, bus: Bus, truth: CatchUp, standing: Standing, settings: Settings) -> None:
    """Keep the worker's catalog current until cancelled. It is ready when it has caught up once, or after
    `settings.catchup_s`; `standing` is told of every step."""
    async with trio.open_nursery() as following:
        following.start_soon(partial(supervise, worker, bus=bus, catch_up=truth, fleet=standing, settings=settings))
        following.start_soon(_lose_patience, worker, standing, settings.catchup_s)
        following.start_soon(_keep_looking, worker, standing, bus, settings)


async def _lose_patience(worker: Worker, standing: Standing, patience_s: float) -> None:
    with trio.move_on_after(patience_s):
        await standing.wait_until(lambda: worker.known.caught_up)
        return
    log.warning("not caught up within %g s: serving what is known", patience_s)
    worker.serve_what_is_known()
    standing.wake()


async def _keep_looking(worker: Worker, standing: Standing, bus: Bus, settings: Settings) -> None:
    """Have the truth read now and then, and sooner while something is known to be missing."""
    waits = pauses(_FIRST_LOOK_S, settings.catchup_retry_s)
    while True:
        with trio.move_on_after(settings.reconcile_s * _jitter()):
            await standing.wait_until(lambda: worker.known.misses_something)
            await trio.sleep(next(waits) * _jitter())
        seen = standing.changes
        bus.nudge()
        with trio.move_on_after(settings.reconcile_s):
            await standing.wait_changed(seen)  # it has looked; or is down, and looks when it is up
        if not worker.known.misses_something:
            waits = pauses(_FIRST_LOOK_S, settings.catchup_retry_s)


def _jitter() -> float:
    # Workers that started together, or lost the bus together, must not ask together.
    return random.uniform(0.5, 1.0)
