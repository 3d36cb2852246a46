"""The commit path: a request vanishes anywhere, and no write is half done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import trio

from sie.bus.contract import Notice
from sie.errors import OutcomeUnknown, ShuttingDown
from sie.flow import Commit, Order, answer_post, fulfil
from sie.services import open_services
from sie.testing.steps import Round, Trial
from tests.pages import FIRST
from tests.router.made import entry
from tests.steps.cluster import BUNDLE
from tests.steps.made import ORDER, OTHER, Made, worker
from tests.steps.table import Place, case


@case("sie.router.writer:Writer.submit", "sie.router.head:Head.append", "sie.flow:fulfil")
@asynccontextmanager
async def submitting(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:

        async def check(done: Round) -> None:
            await made.settled()

        yield Trial(act=lambda: made.writer.submit(ORDER), check=check)


@case("sie.flow:answer_post", "sie.router.fleet:Fleet.wait_acked")
@asynccontextmanager
async def answering(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made, open_services("the round is over") as workers:
        made.fleet.heard(worker(made.head.store_id, 0))
        workers.start_soon(made.confirm)

        async def read_body() -> bytes:
            await trio.lowlevel.checkpoint()
            return FIRST

        async def check(done: Round) -> None:
            await made.settled()

        yield Trial(
            act=lambda: answer_post(read_body, key="k", dry_run=False, writer=made.writer, fleet=made.fleet),
            check=check,
        )


@case("sie.router.writer:Writer.refresh")
@asynccontextmanager
async def refreshing(place: Place) -> AsyncIterator[Trial]:
    async with Made().running() as made:
        await made.store.append(entry(1))

        async def check(done: Round) -> None:
            assert made.head.revision in ((1,) if done.finished else (0, 1))
            await made.writer.refresh()
            assert made.head.revision == 1

        yield Trial(act=made.writer.refresh, check=check)


@case("sie.router.writer:Writer.run")
@asynccontextmanager
async def writing(place: Place) -> AsyncIterator[Trial]:
    """The writer itself is stopped: whoever waits is told, and what was told to be there is there."""
    made = Made()
    told: list[Commit | OutcomeUnknown | ShuttingDown] = []

    async def post(order: Order) -> None:
        try:
            told.append(await made.writer.submit(order))
        except (OutcomeUnknown, ShuttingDown) as error:
            told.append(error)

    async with trio.open_nursery() as clients:
        clients.start_soon(post, ORDER)
        clients.start_soon(post, OTHER)
        await trio.testing.wait_all_tasks_blocked()

        async def act() -> None:
            async with open_services("stopped by its owner") as services:
                await services.start(made.writer.run)
                while len(told) < 2:
                    await trio.lowlevel.checkpoint()

        async def check(done: Round) -> None:
            with trio.fail_after(5):
                while len(told) < 2:  # noqa: ASYNC110 -- nobody may wait for ever
                    await trio.sleep(0.01)
            logged = await made.logged()
            assert {one.revision for one in told if isinstance(one, Commit)} <= set(logged)
            sure = sum(isinstance(one, Commit | OutcomeUnknown) for one in told)
            assert len(logged) <= sure, "there is what was answered with `not taken`"

        yield Trial(act=act, check=check)


@case("sie.flow:fulfil", "sie.router.head:Head.append", label="fulfil, as its writer is stopped")
@asynccontextmanager
async def fulfilling(place: Place) -> AsyncIterator[Trial]:
    made = Made()

    def carry_out() -> Awaitable[Commit]:
        return fulfil(ORDER, head=made.head, bus=made.bus, deadline=trio.current_time() + 5)

    with made.bus.follow(BUNDLE) as hints:

        async def check(done: Round) -> None:
            logged = await made.logged()
            assert not done.finished or logged == [1]
            told = {one.entry.revision for one in made.head.unsaid}
            await made.head.read_on()  # what a next life, or the next order, begins with
            told |= {one.entry.revision for one in made.head.unsaid}
            while hints.statistics().current_buffer_used:
                hint = hints.receive_nowait()
                told |= {hint.entry.revision} if isinstance(hint, Notice) else set()
            assert told == set(logged), "there, and neither told nor remembered to be"
            assert (await carry_out()).status == 201
            assert await made.logged() == [1]

        yield Trial(act=carry_out, check=check)
