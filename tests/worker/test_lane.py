"""One thread, one job after the other."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sie.errors import ShuttingDown
from sie.worker.lane import Lane


async def test_a_lane_does_its_jobs_in_order_in_one_thread() -> None:
    lane, did = Lane("test"), list[tuple[int, int]]()
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(lane.run, lambda number=number: did.append((number, threading.get_ident())))
            await wait_all_tasks_blocked()
    lane.close()
    assert [number for number, _ in did] == list(range(50))
    assert len({thread for _, thread in did}) == 1


async def test_a_lane_raises_what_the_job_raised_and_goes_on() -> None:
    lane = Lane("test")
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0)
    assert await lane.run(lambda: 7) == 7
    lane.close()
    with pytest.raises(ShuttingDown):
        await lane.run(lambda: 7)


async def test_a_cancelled_job_that_has_not_begun_never_runs() -> None:
    lane, did, begun, go = Lane("test"), list[str](), threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        go.wait(10)
        did.append("first")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run, first)
        await trio.to_thread.run_sync(begun.wait, 10)
        with trio.CancelScope() as scope:
            scope.cancel(reason="nobody wants it")
            await lane.run(lambda: did.append("second"))
        go.set()
    await lane.run(lambda: did.append("third"))
    lane.close()
    assert did == ["first", "third"]


async def test_a_cancelled_job_that_runs_lets_go_at_once() -> None:
    lane, begun, go = Lane("test"), threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        go.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run, stuck)
        await trio.to_thread.run_sync(begun.wait, 10)
        nursery.cancel_scope.cancel(reason="a hung device")
    go.set()
    lane.close()


async def test_who_has_two_jobs_done_may_take_the_second_back_until_it_begins() -> None:
    lane, begun, go, done = Lane("test"), threading.Event(), threading.Event(), trio.Event()
    told = list[str]()

    def first() -> int:
        begun.set()
        go.wait(10)
        return 1

    def idle() -> bool:
        return lane.idle

    assert idle()
    one = lane.put(first, lambda: told.append("one"))
    two = lane.put(lambda: 2, lambda: told.append("two"))
    three = lane.put(lambda: 3, done.set)
    await trio.to_thread.run_sync(begun.wait, 10)
    assert not idle()
    assert not one.withdraw()
    assert two.withdraw()
    go.set()
    await done.wait()
    assert told == ["one"]
    assert one.outcome is not None
    assert one.outcome.unwrap() == 1
    assert one.took_s > 0
    assert two.outcome is None
    assert three.outcome is not None
    assert not three.withdraw()
    assert idle()
    lane.close()
