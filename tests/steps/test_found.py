"""What the loops found, each in its smallest form."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from sie.errors import ModelLoading, ShuttingDown
from sie.settings import Settings
from sie.testing.device import FakeDevice, Script
from sie.worker.adapters.contract import Adapter
from sie.worker.compute import Compute
from tests.steps.table import public_coroutines
from tests.worker.made import encode, made_model


async def test_a_request_that_comes_as_compute_ends_is_told_that_it_shuts_down(autojump_clock: MockClock) -> None:
    raised: set[type[Exception]] = set()

    async def ask(compute: Compute, turns: int) -> None:
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        try:
            await compute.encode(made_model(), None, encode("text"))
        except Exception as error:
            raised.add(type(error))

    for round_ in range(200):  # who comes first in a turn is left to chance
        compute = Compute(Settings(), device=FakeDevice())
        async with trio.open_nursery() as clients, trio.open_nursery() as services:
            await services.start(compute.run)
            clients.start_soon(ask, compute, round_ % 10)
            services.cancel_scope.cancel(reason="stopped by its owner")
    assert raised <= {ModelLoading, ShuttingDown}


async def test_a_model_that_was_being_unloaded_as_compute_ends_is_given_back(autojump_clock: MockClock) -> None:
    released: list[Adapter] = []

    class Busy(FakeDevice):
        """Gives memory back after what runs now, which takes a second."""

        async def release(self, adapter: Adapter) -> None:
            await trio.sleep(1)
            released.append(adapter)

    device = Busy({name: Script(memory_bytes=600) for name in ("org/a", "org/b")})
    compute = Compute(Settings(memory_budget_bytes=1000), device=device)
    async with trio.open_nursery() as services:
        await services.start(compute.run)
        await compute.preload(made_model("org/a"))
        with pytest.raises(ModelLoading):
            await compute.preload(made_model("org/b"), wait_s=0.5)  # for which the first has to go
        services.cancel_scope.cancel(reason="stopped by its owner")
    assert len(released) == len(device.loads)


# They leave something undone when they are cancelled, which a docstring is to say.
SILENT = (
    "sie.flow:answer_post",
    "sie.flow:fulfil",
    "sie.flow:keep_bundle_current",
    "sie.router.foreign:Foreign.take",
    "sie.router.head:Head.append",
    "sie.router.head:Head.save_snapshot",
)


def test_each_says_what_being_cancelled_means() -> None:
    said = public_coroutines()
    assert [one for one in SILENT if "ancelled" not in said[one]] == []
