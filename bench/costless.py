"""A child: a worker as `sie worker` runs it, whose model costs nothing. What is measured then is everything else.

`python -m bench.costless`: says its address, and serves until the standard input ends.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import trio

from bench.child import say
from bench.orders import obey_nothing
from bench.texts import MODEL
from sie.observe.logs import configure_logs
from sie.program import SWITCH_INTERVAL_S
from sie.settings import Settings
from sie.testing.device import FakeAdapter, FakeDevice
from sie.worker.adapters.contract import Adapter, Result, Row
from sie.worker.identity import LoadIdentity
from sie.worker.process import open_worker
from sie.worker.service import serve_process
from sie.worker.weights import Weights

_DIMS = 384
_RESULT = Result(dense=np.full(_DIMS, 0.05, np.float32))


class CostlessAdapter(FakeAdapter):
    """Counts words as tokens, and has the vectors before they are asked for."""

    def run(self, rows: Sequence[Row]) -> list[Result]:
        return [_RESULT] * len(rows)


class Forgotten(list[Any]):
    """A list that keeps nothing: what the device did would grow with every batch."""

    def append(self, _: Any) -> None:
        pass


class CostlessDevice(FakeDevice):
    def __init__(self) -> None:
        super().__init__()
        self.batches = Forgotten()

    async def load(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        await trio.lowlevel.checkpoint()
        adapter = CostlessAdapter(identity.weights, "DenseAdapter", self.script(identity.weights))
        adapter.dims = {"dense": _DIMS}
        return adapter


async def main() -> None:
    stop = trio.Event()
    configure_logs(level="error", as_json=False)
    async with (
        open_worker(Settings(port=0, preload=(MODEL,)), device=CostlessDevice()) as process,
        trio.open_nursery() as nursery,
    ):
        address = await nursery.start(partial(serve_process, process, stop=stop))
        await process.standing.wait_until(lambda: process.standing.ready)
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        say(address=address)
        await obey_nothing()
        stop.set()


if __name__ == "__main__":
    trio.run(main)
