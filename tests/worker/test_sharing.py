"""What is the same is computed once, for whoever waits for it; and nobody waits in vain, whoever leaves when."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.errors import InferenceFailed
from sie.testing.device import FakeDevice, Script
from sie.wire.inference import EncodeAnswer
from sie.worker.compute import Compute
from sie.worker.sharing import InFlight, Waiter
from tests.worker.made import encode, made_model, running, texts_of

A = made_model("org/a", profiles={"other": {"extends": "default", "max_batch_tokens": 8}})


def slow(**script: object) -> FakeDevice:
    return FakeDevice({"org/a": Script(run_s=1, **script)})  # type: ignore[arg-type]


def values(answer: EncodeAnswer) -> list[list[float]]:
    return [one.dense.values.tolist() for one in answer.items if one.dense is not None]


async def test_what_waits_or_runs_is_not_run_again(autojump_clock: MockClock) -> None:
    device = slow()
    answers: list[EncodeAnswer] = []
    async with running(device) as compute, trio.open_nursery() as nursery:
        await compute.preload(A)

        async def ask(*texts: str, profile: str | None = None) -> None:
            answers.append(await compute.encode(A, profile, encode(*texts)))

        for texts in (("x",), ("x", "y", "x"), ("y", "x")):
            nursery.start_soon(ask, *texts)
            await wait_all_tasks_blocked()
        await trio.sleep(1.5)  # y runs
        nursery.start_soon(lambda: ask("y", profile="other"))
    assert texts_of(device) == [["x"], ["y"]]
    alike = {text: value for one in answers for text, value in [(len(one.items), values(one))]}
    assert sorted(alike) == [1, 2, 3]
    assert len({str(value) for one in answers for value in values(one)}) == 2
    (model,) = compute.statistics().models
    assert (model.counts.items, model.counts.shared) == (2, 5)


@pytest.mark.parametrize("leaves", ["who leads", "who follows"])
async def test_who_leaves_takes_nothing_from_the_others(autojump_clock: MockClock, leaves: str) -> None:
    device = slow()
    async with running(device) as compute, trio.open_nursery() as nursery:
        await compute.preload(A)
        nursery.start_soon(compute.encode, A, None, encode("busy"))
        await wait_all_tasks_blocked()
        scopes = [trio.CancelScope(), trio.CancelScope()]
        answered: list[int] = []

        async def ask(number: int) -> None:
            with scopes[number]:
                await compute.encode(A, None, encode("same", "same"))
                answered.append(number)

        for number in range(2):
            nursery.start_soon(ask, number)
            await wait_all_tasks_blocked()
        gone = int(leaves == "who follows")
        scopes[gone].cancel(reason="hung up")
    assert answered == [1 - gone]
    assert texts_of(device) == [["busy"], ["same"]]


async def test_who_comes_while_the_leader_that_left_is_on_the_device_gets_its_result(
    autojump_clock: MockClock,
) -> None:
    device = slow()
    async with running(device) as compute:
        await compute.preload(A)
        with trio.move_on_after(0.5):
            await compute.encode(A, None, encode("same", "same"))
        await compute.encode(A, None, encode("same"))
        assert trio.current_time() == pytest.approx(1, abs=0.1)
    assert texts_of(device) == [["same"]]


async def test_a_batch_that_fails_fails_all_who_wait_for_it_and_nobody_after(autojump_clock: MockClock) -> None:
    device = slow()
    device.scripts["org/a"].run_failures.append(RuntimeError("it broke"))
    async with running(device) as compute, trio.open_nursery() as nursery:
        await compute.preload(A)

        async def ask() -> None:
            with pytest.raises(InferenceFailed):
                await compute.encode(A, None, encode("same"))

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await trio.sleep(1.5)
        await compute.encode(A, None, encode("same"))
    assert texts_of(device) == [["same"], ["same"]]


async def test_what_is_kept_is_not_run_again_and_stays_within_its_bound(autojump_clock: MockClock) -> None:
    device = slow()
    async with running(device, embedding_cache_bytes=4000) as compute:
        await compute.preload(A)

        async def ask(*texts: str) -> Sequence[Sequence[float]]:
            return values(await compute.encode(A, None, encode(*texts)))

        first = await ask("a")
        assert await ask("a") == first
        for text in ("b", "c", "d", "e"):
            await ask(text)
        await ask("a")  # the oldest had to go
    assert texts_of(device) == [["a"], ["b"], ["c"], ["d"], ["e"], ["a"]]


async def test_whoever_leaves_when_the_others_are_answered(autojump_clock: MockClock) -> None:
    seed = int(os.environ.get("SHARING_SEED", random.randrange(10**6)))
    print(f"SHARING_SEED={seed}")
    chance = random.Random(seed)
    async with running(slow(), queue_items=10_000) as compute:
        await compute.preload(A)
        stayed: list[int] = []
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(_ask, compute, chance, number, stayed)
                await trio.sleep(0.1 * chance.random())
        await trio.sleep(2)  # who left last may have left a batch on the device
        assert compute.queue_depth(A) == 0
        pipeline = compute._pipeline
        assert len(pipeline._in_flight) == 0
        assert not pipeline._tickets


async def _ask(compute: Compute, chance: random.Random, number: int, stayed: list[int]) -> None:
    texts = [chance.choice("abcdefgh") for _ in range(chance.randint(1, 4))]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_leave, nursery.cancel_scope, chance.choice((0.3, 1.2, 60)))
        answer = await compute.encode(A, chance.choice((None, "other")), encode(*texts))
        assert len(answer.items) == len(texts)
        stayed.append(number)
        nursery.cancel_scope.cancel(reason="it has its answer")


async def _leave(scope: trio.CancelScope, after_s: float) -> None:
    """A client that hangs up, and so one of which nobody knew that it would."""
    await trio.sleep(after_s)
    assert after_s < 60
    scope.cancel(reason="the client hangs up")


@given(st.lists(st.tuples(st.sampled_from("jlrs"), st.integers(0, 2), st.integers(0, 4)), max_size=40))
def test_of_those_who_wait_for_one_thing_one_leads_until_it_runs(steps: list[tuple[str, int, int]]) -> None:
    known = InFlight()
    waiting: dict[int, list[Waiter]] = {}
    leads: dict[int, Waiter] = {}
    runs: set[int] = set()
    for step, key, number in steps:
        waiter = Waiter(number, 0)
        here = waiting.setdefault(key, [])
        if step == "j" and waiter not in here:
            led = known.join(key, waiter)
            here.append(waiter)
            assert led == (key not in leads and key not in runs)
            if led:
                leads[key] = waiter
        elif step == "l":
            heir = known.leave(key, waiter)
            if waiter in here:
                here.remove(waiter)
            if leads.get(key) == waiter:
                del leads[key]
                assert heir == (here[0] if here else None)
                if heir is not None:
                    leads[key] = heir
            else:
                assert heir is None
        elif step == "r" and key in leads:
            known.run(key)
            runs.add(key)
            del leads[key]
        elif step == "s" and key in runs:
            assert list(known.settle(key)) == here
            here.clear()
            runs.discard(key)
