"""The instrument itself: it finds what is planted, says where, and calls nothing broken that is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from sie.testing.steps import (
    CancelWorld,
    CrashWorld,
    Life,
    Ordeal,
    Round,
    StepFailed,
    Trial,
    cancel_at_every_step,
    crash_at_every_step,
)


class Ledger:
    """What outlives everybody."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.published: list[str] = []

    def store(self, what: str) -> None:
        self.stored.append(what)

    def publish(self, what: str) -> None:
        self.published.append(what)


def line_of(comment: str) -> str:
    lines = Path(__file__).read_text().splitlines()
    return f"{__file__}:{next(n for n, line in enumerate(lines, 1) if line.endswith(comment))} in"


def handler(act: Callable[[Ledger], Awaitable[object]], rounds: list[Round]) -> CancelWorld:
    @asynccontextmanager
    async def world() -> AsyncIterator[Trial]:
        ledger = Ledger()

        async def check(done: Round) -> None:
            rounds.append(done)
            assert ledger.published == ledger.stored, "stored, and never published"

        async with trio.open_nursery() as around:  # whose group must not hide what was found
            around.start_soon(trio.sleep_forever)
            yield Trial(act=lambda: act(ledger), check=check)
            around.cancel_scope.cancel(reason="the round is over")

    return world


async def store_then_publish(ledger: Ledger) -> str:
    await trio.lowlevel.checkpoint()
    ledger.store("a")
    await trio.lowlevel.checkpoint()  # the hole
    ledger.publish("a")
    await trio.lowlevel.checkpoint()
    return "answered"


async def store_and_publish(ledger: Ledger) -> str:
    await trio.lowlevel.checkpoint()
    ledger.store("a")
    ledger.publish("a")
    await trio.lowlevel.checkpoint()
    return "answered"


async def test_a_hole_is_found_and_the_message_names_the_step_the_line_and_the_seed() -> None:
    with pytest.raises(StepFailed) as found:
        await cancel_at_every_step(handler(store_then_publish, []), whose="own", seed=7)
    said = str(found.value)
    assert said.startswith(f"cancelled at step 1, at {line_of('# the hole')} store_then_publish (seed 7): Assertion")
    assert "stored, and never published" in said


async def test_without_a_hole_every_step_is_tried_and_then_a_whole_round() -> None:
    rounds: list[Round] = []
    assert await cancel_at_every_step(handler(store_and_publish, rounds), whose="own") == 2
    assert [(one.step, one.stopped, one.finished) for one in rounds] == [
        (0, True, False),
        (1, True, False),
        (2, False, True),
    ]
    assert rounds[-1].value == "answered"


async def test_an_error_that_a_cancel_brings_about_is_a_broken_promise() -> None:
    async def loses(ledger: Ledger) -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            raise KeyError("lost") from None  # noqa: ASYNC104 -- the planted fault

    with pytest.raises(StepFailed) as found:
        await cancel_at_every_step(handler(loses, []))
    assert isinstance(found.value.__cause__, KeyError)


async def test_one_that_has_no_end_is_told() -> None:
    async def turns(ledger: Ledger) -> None:
        with trio.CancelScope(shield=True):
            for _ in range(100):
                await trio.lowlevel.checkpoint()

    with pytest.raises(StepFailed) as found:
        await cancel_at_every_step(handler(turns, []), whose="own", most=20)
    assert str(found.value) == "not at its end after 20 steps"


def asked(rounds: list[Round]) -> CancelWorld:
    """The one who asks takes one step of its own, after all of the one who is asked."""

    @asynccontextmanager
    async def world() -> AsyncIterator[Trial]:
        ledger, answered = Ledger(), trio.Event()

        async def serve() -> None:
            await store_and_publish(ledger)
            answered.set()

        async def check(done: Round) -> None:
            rounds.append(done)
            assert done.finished or not ledger.stored, "the asker left, and it was done"

        async with trio.open_nursery() as around:
            around.start_soon(serve)  # noqa: ASYNC113 -- it is to go on while `act` waits
            yield Trial(act=answered.wait, check=check)
            around.cancel_scope.cancel(reason="the round is over")

    return world


async def test_a_cancel_while_it_waits_and_others_go_on_comes_at_the_others_steps() -> None:
    assert await cancel_at_every_step(asked([]), whose="own") == 1
    with pytest.raises(StepFailed) as found:
        await cancel_at_every_step(asked([]), whose="all")
    assert "in wait (seed 0)" in str(found.value)


async def test_a_seed_gives_the_same_order_each_time() -> None:
    def racing(orders: list[str]) -> CancelWorld:
        @asynccontextmanager
        async def world() -> AsyncIterator[Trial]:
            order: list[str] = []

            async def run(name: str) -> None:
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                    order.append(name)

            async def act() -> None:
                async with trio.open_nursery() as racers:
                    for name in "abcdef":
                        racers.start_soon(run, name)

            async def check(done: Round) -> None:
                if not done.stopped:
                    orders.append("".join(order))

            yield Trial(act=act, check=check)

        return world

    orders: list[str] = []
    for seed in (1, 2, 1, 2):
        await cancel_at_every_step(racing(orders), seed=seed)
    assert orders[0] == orders[2] != orders[1] == orders[3]


def process(live: Callable[[Life, Ledger], Awaitable[object]], rounds: list[Round]) -> CrashWorld:
    @asynccontextmanager
    async def world() -> AsyncIterator[Ordeal]:
        ledger = Ledger()

        async def judge(done: Round) -> None:
            rounds.append(done)
            assert done.finished <= bool(ledger.published)
            assert ledger.published in ([], ledger.stored), "published, and not stored"

        async with trio.open_nursery() as around:
            around.start_soon(trio.sleep_forever)
            yield Ordeal(live=lambda life: live(life, life.edge(ledger)), judge=judge)
            around.cancel_scope.cancel(reason="the round is over")

    return world


async def test_a_crash_comes_at_the_steps_of_any_of_its_tasks() -> None:
    async def live(_: Life, ledger: Ledger) -> None:
        async def write() -> None:
            await trio.lowlevel.checkpoint()
            ledger.store("a")

        async with trio.open_nursery() as tasks:
            tasks.start_soon(write)
        await trio.lowlevel.checkpoint()
        ledger.publish("a")

    rounds: list[Round] = []
    assert await crash_at_every_step(process(live, rounds)) == len(rounds) - 1 >= 4
    assert {one.where.rpartition(" ")[2] for one in rounds[:-1]} == {"write", "live"}


async def test_what_a_dead_process_does_to_clean_up_has_no_effect_and_what_it_raises_nobody_hears() -> None:
    async def live(life: Life, ledger: Ledger) -> None:
        try:
            ledger.store("a")
            await trio.lowlevel.checkpoint()
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.lowlevel.checkpoint()
                try:
                    ledger.publish("a")  # a second try, as well meant
                except Exception:
                    ledger.publish("a")
        if life.over:
            raise AssertionError("this is not to be heard")

    rounds: list[Round] = []
    await crash_at_every_step(process(live, rounds))
    assert [one.finished for one in rounds] == [False, False, True]


async def test_a_process_that_fails_by_itself_is_told() -> None:
    async def live(_: Life, __: Ledger) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("its own fault")

    with pytest.raises(StepFailed) as found:
        await crash_at_every_step(process(live, []))
    assert str(found.value) == "not crashed, in 1 steps (seed 0): KeyError: 'its own fault'"


async def test_a_judge_that_is_not_content_names_the_step_and_the_line() -> None:
    async def live(_: Life, ledger: Ledger) -> None:
        ledger.publish("a")
        await trio.lowlevel.checkpoint()  # published first
        ledger.store("a")

    with pytest.raises(StepFailed) as found:
        await crash_at_every_step(process(live, []))
    assert f"crashed at step 0, at {line_of('# published first')} live" in str(found.value)
