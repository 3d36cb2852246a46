"""Models come onto the device when wanted and leave when others are: on Trio's clock, with a scripted device."""

from __future__ import annotations

import math
from collections import deque
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.errors import ModelLoadFailed, ModelLoading, ShuttingDown
from sie.settings import Settings
from sie.testing.device import FakeDevice, Script
from sie.worker.adapters.contract import Adapter
from sie.worker.compute import Compute
from sie.worker.device import DeviceOutOfMemory
from tests.worker.made import encode, made_model, running

A, B, C = made_model("org/a"), made_model("org/b"), made_model("org/c")


def device_of(**scripts: Script) -> FakeDevice:
    return FakeDevice({f"org/{name}": script for name, script in scripts.items()})


async def test_the_first_request_starts_the_load_and_is_told_when_to_ask_again(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(load_s=4))
    async with running(device) as compute:
        with pytest.raises(ModelLoading) as told:
            await compute.encode(A, None, encode("one"))
        assert 1 <= told.value.fields["retry_after_s"] <= 5
        assert compute.describe(A).state == "loading"
        await trio.sleep(5)
        assert (await compute.encode(A, None, encode("one"))).items[0].dense is not None
        assert compute.describe(A).loaded


async def test_retry_after_is_what_is_left_of_the_last_load(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(load_s=20, memory_bytes=600), b=Script(memory_bytes=600))
    async with running(device, memory_budget_bytes=1000) as compute:
        await compute.preload(A)
        await compute.preload(B)
        with pytest.raises(ModelLoading):
            await compute.encode(A, None, encode("one"))
        await trio.sleep(8)
        with pytest.raises(ModelLoading) as told:
            await compute.encode(A, None, encode("one"))
        assert told.value.fields["retry_after_s"] == 12


async def test_a_request_that_waits_is_answered_when_the_load_is_done(autojump_clock: MockClock) -> None:
    async with running(device_of(a=Script(load_s=4))) as compute:
        answer = await compute.encode(A, None, encode("one"), wait_s=30)
        assert answer.timing.total_ms == pytest.approx(4000)
        assert answer.timing.queue_ms == pytest.approx(4000)


async def test_a_request_that_waits_too_short_is_told_so_then(autojump_clock: MockClock) -> None:
    async with running(device_of(a=Script(load_s=4))) as compute:
        began = trio.current_time()
        with pytest.raises(ModelLoading) as told:
            await compute.encode(A, None, encode("one"), wait_s=3)
        assert trio.current_time() - began == pytest.approx(3)
        assert told.value.fields["retry_after_s"] == 2


async def test_many_requests_and_profiles_share_one_load(autojump_clock: MockClock) -> None:
    model = made_model(
        "org/a", profiles={"medical": {"extends": "default", "adapter_options": {"runtime": {"instruction": "x"}}}}
    )
    device = device_of(a=Script(load_s=4))
    async with running(device) as compute, trio.open_nursery() as requests:
        for profile in ("default", "medical", None) * 5:
            requests.start_soon(partial(compute.encode, model, profile, encode("one"), wait_s=9))
    assert device.loads == ["org/a"]


async def test_a_cancelled_waiter_leaves_the_load_to_the_others(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(load_s=4))
    async with running(device) as compute, trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await compute.encode(A, None, encode("one"), wait_s=9)
        nursery.start_soon(lambda: compute.encode(A, None, encode("one"), wait_s=9))
    assert device.loads == ["org/a"]


async def test_a_failed_load_says_why_backs_off_and_is_tried_again(autojump_clock: MockClock) -> None:
    script = Script(load_s=1, load_failures=deque([OSError("disk on fire"), OSError("still"), None]))
    device = device_of(a=script)
    async with running(device, load_backoff_s=5, load_backoff_most_s=60) as compute:
        with pytest.raises(ModelLoadFailed) as failed:
            await compute.encode(A, None, encode("one"), wait_s=30)
        assert "disk on fire" in failed.value.message
        assert failed.value.fields["retry_after_s"] == 5
        assert compute.describe(A).state == "failed"
        for _ in range(10):
            with pytest.raises(ModelLoadFailed):
                await compute.encode(A, None, encode("one"), wait_s=30)
        assert device.loads == ["org/a"]  # it does not loop
        await trio.sleep(5)
        with pytest.raises(ModelLoadFailed) as failed:
            await compute.encode(A, None, encode("one"), wait_s=30)
        assert failed.value.fields["retry_after_s"] == 10
        await trio.sleep(10)
        await compute.encode(A, None, encode("one"), wait_s=30)
    assert device.loads == ["org/a"] * 3


async def test_a_load_that_fails_leaves_the_other_models_alone(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(load_failures=deque([RuntimeError("no")])), b=Script(load_s=1))
    async with running(device) as compute:
        await compute.preload(B)
        with pytest.raises(ModelLoadFailed):
            await compute.preload(A)
        await compute.encode(B, None, encode("one"))


async def test_the_model_used_longest_ago_goes_and_use_counts_not_age(autojump_clock: MockClock) -> None:
    device = device_of(**{name: Script(memory_bytes=400) for name in "abc"})
    async with running(device, memory_budget_bytes=1000) as compute:
        await compute.preload(A)
        await compute.preload(B)
        await trio.sleep(1)
        await compute.encode(A, None, encode("one"))
        await compute.preload(C)
        assert device.unloads == ["org/b"]
        assert compute.describe(B).state == "available"
        assert compute.statistics().memory_used_bytes == 800


async def test_a_busy_model_is_waited_for_not_evicted(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(memory_bytes=600, run_s=10), b=Script(memory_bytes=600))
    async with running(device, memory_budget_bytes=1000) as compute, trio.open_nursery() as nursery:
        await compute.preload(A)
        nursery.start_soon(lambda: compute.encode(A, None, encode("one")))
        await wait_all_tasks_blocked()
        with pytest.raises(ModelLoading):
            await compute.encode(B, None, encode("one"), wait_s=9)
        assert device.unloads == []
        await compute.encode(B, None, encode("one"), wait_s=9)
        assert device.unloads == ["org/a"]


async def test_a_model_that_gets_work_while_another_leaves_stays(autojump_clock: MockClock) -> None:
    class SlowToLeave(FakeDevice):
        async def release(self, adapter: Adapter) -> None:
            await trio.sleep(5)
            await super().release(adapter)

    scripts = {f"org/{name}": Script(memory_bytes=400, run_s=20) for name in "ab"}
    device = SlowToLeave({**scripts, "org/c": Script(memory_bytes=900)})
    async with running(device, memory_budget_bytes=1000) as compute, trio.open_nursery() as nursery:
        await compute.preload(A)
        await trio.sleep(1)
        await compute.preload(B)
        nursery.start_soon(compute.preload, C)
        await trio.sleep(1)
        assert compute.describe(A).state == "unloading"
        await compute.encode(B, None, encode("one"))
        assert device.unloads == ["org/a"]
    assert device.unloads[:2] == ["org/a", "org/b"]


async def test_a_model_larger_than_the_budget_fails_with_the_numbers_and_evicts_nobody(
    autojump_clock: MockClock,
) -> None:
    device = device_of(a=Script(memory_bytes=600), b=Script(memory_bytes=1001))
    async with running(device, memory_budget_bytes=1000) as compute:
        await compute.preload(A)
        with pytest.raises(ModelLoadFailed) as failed:
            await compute.preload(B)
        assert "1,001" in failed.value.message
        assert "1,000" in failed.value.message
        assert device.unloads == []


async def test_the_budget_is_a_share_of_the_device_when_none_is_set(autojump_clock: MockClock) -> None:
    async with running(FakeDevice(memory_bytes=10_000), memory_percent=85) as compute:
        await compute.preload(A)
        assert compute.statistics().memory_budget_bytes == 8500


async def test_a_device_out_of_memory_in_a_load_evicts_one_and_tries_once_more(autojump_clock: MockClock) -> None:
    full = DeviceOutOfMemory("full")
    device = device_of(b=Script(load_failures=deque([full, None])), c=Script(load_failures=deque([full, full, full])))
    async with running(device) as compute:
        await compute.preload(A)
        await compute.preload(B)
        assert device.unloads == ["org/a"]
        with pytest.raises(ModelLoadFailed) as failed:
            await compute.preload(C)
        assert "full" in failed.value.message
    assert device.loads == ["org/a", "org/b", "org/b", "org/c", "org/c"]


async def test_models_load_one_at_a_time(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(load_s=3), b=Script(load_s=3))
    async with running(device) as compute, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(compute.preload, A)
        nursery.start_soon(compute.preload, B)
        with trio.move_on_after(math.inf):
            await compute.preload(A)
            await compute.preload(B)
        assert trio.current_time() - began == pytest.approx(6)


async def test_no_state_change_is_missed(autojump_clock: MockClock) -> None:
    states = []
    async with running(device_of(a=Script(load_s=1))) as compute:
        with pytest.raises(ModelLoading):
            await compute.encode(A, None, encode("one"))
        seen = 0
        while not compute.describe(A).loaded:
            seen = await compute.wait_changed(seen)
            states.append(compute.describe(A).state)
    assert states == ["loading", "loaded"]


async def test_the_end_releases_every_model_and_tells_every_waiter(autojump_clock: MockClock) -> None:
    device = device_of(b=Script(load_s=100))
    compute = Compute(Settings(), device=device)
    async with trio.open_nursery() as outer, trio.open_nursery() as service:
        await service.start(compute.run)
        await compute.preload(A)

        async def waiting() -> None:
            with pytest.raises(ShuttingDown):
                await compute.encode(B, None, encode("one"), wait_s=math.inf)

        outer.start_soon(waiting)
        await wait_all_tasks_blocked()
        service.cancel_scope.cancel(reason="the process ends")
    assert device.unloads == ["org/a"]
    assert device.closed
    with pytest.raises(ShuttingDown):
        await compute.encode(A, None, encode("one"))
