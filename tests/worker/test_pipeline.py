"""A request's way through the queue and the batches: on Trio's clock, with a scripted device."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.errors import InferenceFailed, QueueFull, ShuttingDown
from sie.settings import Settings
from sie.testing.device import FakeDevice, FakeRunning, Script
from sie.wire.inference import EncodeAnswer
from sie.worker.adapters.contract import Adapter, Result, Row
from sie.worker.compute import Compute
from sie.worker.device import DeviceOutOfMemory
from tests.worker.made import encode, made_model, running, score, texts_of

A, B = made_model("org/a"), made_model("org/b")


def device_of(**scripts: Script) -> FakeDevice:
    return FakeDevice({f"org/{name}": script for name, script in scripts.items()})


async def started(nursery: trio.Nursery, *requests: Callable[[], Any]) -> None:
    """Start each, in this order, and let it come as far as it can."""
    for request in requests:
        nursery.start_soon(request)
        await wait_all_tasks_blocked()


def values(answer: EncodeAnswer) -> list[list[float]]:
    return [one.dense.values.tolist() for one in answer.items if one.dense is not None]


async def test_answers_come_in_the_order_of_the_items(autojump_clock: MockClock) -> None:
    texts = [f"{'w ' * (length % 17)}x{length}" for length in range(300)]
    async with running() as compute:
        together = await compute.encode(A, None, encode(*texts), wait_s=9)
        alone = [values(await compute.encode(A, None, encode(text)))[0] for text in texts]
    assert values(together) == alone
    assert together.timing.tokens == sum(len(text.split()) for text in texts)


async def test_an_idle_device_takes_what_is_there_and_a_busy_one_finds_a_fuller_batch(
    autojump_clock: MockClock,
) -> None:
    device = device_of(a=Script(run_s=1))
    async with running(device) as compute:
        await compute.preload(A)
        async with trio.open_nursery() as nursery:
            await started(
                nursery, *(lambda text=text: compute.encode(A, None, encode(text)) for text in ("one", "two", "three"))
            )
    assert texts_of(device) == [["one"], ["two", "three"]]


async def test_batches_keep_the_profiles_token_budget(autojump_clock: MockClock) -> None:
    model = made_model("org/a", profiles={"small": {"extends": "default", "max_batch_tokens": 6}})
    device = device_of()
    async with running(device) as compute:
        await compute.encode(model, "small", encode(*(f"a b{one}" for one in range(7)), "a b c d e f g"), wait_s=9)
    assert sorted(map(len, texts_of(device))) == [1, 1, 3, 3]


async def test_an_adapters_own_limit_holds_too(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(batch_tokens=2))
    async with running(device) as compute:
        await compute.encode(A, None, encode("a", "b", "c", "d"), wait_s=9)
    assert texts_of(device) == [["a", "b"], ["c", "d"]]


async def test_a_cancelled_request_costs_no_device_time(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=1))
    async with running(device) as compute:
        await compute.preload(A)
        async with trio.open_nursery() as nursery:
            await started(nursery, lambda: compute.encode(A, None, encode("first")))
            with trio.move_on_after(0.5):
                await compute.encode(A, None, encode("gone", "with", "the", "wind"))
            assert compute.queue_depth(A) == 1
            await compute.encode(A, None, encode("last"))
    assert texts_of(device) == [["first"], ["last"]]


async def test_cancelled_at_any_moment_a_request_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """Loading takes a second, each of three chunks half a second to tokenise, each of their batches a second."""
    for tenths in range(0, 50, 3):
        device = device_of(a=Script(load_s=1, tokenise_s=0.5, run_s=1))
        async with running(device, queue_items=130) as compute:
            with trio.move_on_after(tenths / 10):
                await compute.encode(A, None, encode(*map(str, range(130))), wait_s=9)
            assert compute.queue_depth(A) == 0
            await compute.encode(A, None, encode(*(f"after{one}" for one in range(130))), wait_s=9)
            assert {place.holds for place in compute._loading.table.states().values()} == {0}


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=2))
    async with running(device, queue_items=4) as compute:
        await compute.encode(A, None, encode("one"), wait_s=9)
        async with trio.open_nursery() as nursery:
            await started(nursery, lambda: compute.encode(A, None, encode("1", "2", "3")))
            with pytest.raises(QueueFull) as full:
                await compute.encode(A, None, encode("4", "5"))
            assert full.value.fields["retry_after_s"] == 6
            await compute.encode(A, None, encode("4"))
    assert compute.statistics().queue_depth == 0


async def test_a_request_larger_than_the_bound_may_enter_an_empty_queue(autojump_clock: MockClock) -> None:
    async with running(queue_items=4) as compute:
        answer = await compute.encode(A, None, encode(*map(str, range(500))), wait_s=9)
    assert len(answer.items) == 500


async def test_one_item_waits_two_batches_behind_ten_thousand(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=1))
    async with running(device, queue_items=20_000) as compute:
        await compute.preload(A)
        async with trio.open_nursery() as nursery:
            await started(nursery, lambda: compute.encode(A, None, encode(*(f"{one} " * 100 for one in range(10_000)))))
            await trio.sleep(10.5)
            answer = await compute.encode(A, None, encode("short"))
            assert answer.timing.total_ms == pytest.approx(1500)  # the batch that ran, and its own
            nursery.cancel_scope.cancel(reason="seen enough")


async def test_what_comes_while_a_batch_waits_behind_another_may_still_be_in_it(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=1))
    async with running(device) as compute:
        await compute.preload(A)
        async with trio.open_nursery() as nursery:
            for text in ("first", "second", "third"):
                nursery.start_soon(compute.encode, A, None, encode(text))
                await trio.sleep(0.3)
    assert list(map(sorted, texts_of(device))) == [["first"], ["second", "third"]]


async def test_what_is_given_up_while_it_waits_behind_another_batch_never_runs(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=1))
    async with running(device) as compute:
        await compute.preload(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compute.encode, A, None, encode("first"))
            await trio.sleep(0.3)
            async with trio.open_nursery() as leaving:
                for at in range(9):
                    leaving.start_soon(compute.encode, A, None, encode(f"left {at}"))
                await wait_all_tasks_blocked()
                leaving.cancel_scope.cancel(reason="they hang up")
            answer = await compute.encode(A, None, encode("stayed"))
    assert texts_of(device) == [["first"], ["stayed"]]
    assert answer.timing.total_ms == pytest.approx(1700)


class Costly(FakeDevice):
    """A batch takes 20 ms, and 1 ms for each of its padded tokens."""

    def begin(self, adapter: Adapter, rows: Sequence[Row], told: Callable[[], None]) -> FakeRunning:
        longest = max(len(row.tokens) for row in rows)
        self.script("org/a").run_s = 0.020 + 0.001 * longest * len(rows)
        return super().begin(adapter, rows, told)


async def test_batches_grow_until_a_batch_as_such_costs_its_share(autojump_clock: MockClock) -> None:
    device = Costly()
    async with running(device, queue_items=100_000, batch_overhead_percent=4) as compute:
        await compute.encode(A, None, encode(*(f"a b c d e f g h i {at}" for at in range(2000))), wait_s=9)
    sizes = [len(texts) for texts in texts_of(device)]
    assert sizes[0] == 51  # SIE_BATCH_START_TOKENS
    assert max(sizes) <= 102
    assert sizes[5:-2] == [51] * len(sizes[5:-2])  # 20 ms are 4 % of 500 ms


async def test_batches_are_as_large_as_the_profile_allows_where_that_is_asked_for(autojump_clock: MockClock) -> None:
    device = Costly()
    async with running(device, queue_items=100_000, batch_overhead_percent=0) as compute:
        await compute.encode(A, None, encode(*(f"a b c d e f g h i {at}" for at in range(2000))), wait_s=9)
    assert max(map(len, texts_of(device))) == 8192 // 10


async def test_a_request_that_could_not_be_answered_in_its_time_is_refused_at_once(autojump_clock: MockClock) -> None:
    async with running(Costly(), queue_items=100_000) as compute:
        await compute.encode(A, None, encode(*map(str, range(200))), wait_s=9)
        await compute.encode(A, None, encode("one"))
        async with trio.open_nursery() as nursery:
            for at in range(5):  # each of 0.22 s
                texts = [f"{at} {one}" for one in range(100)]
                nursery.start_soon(compute.encode, A, None, encode(*texts))
            await wait_all_tasks_blocked()
            began = trio.current_time()
            with trio.fail_after(0.5), pytest.raises(QueueFull, match=r"this request has 0\.5"):
                await compute.encode(A, None, encode(*(f"late {one}" for one in range(300))))
            assert trio.current_time() == began
            with trio.fail_after(5):
                await compute.encode(A, None, encode(*(f"patient {one}" for one in range(300))))
            with trio.fail_after(0.1):
                await compute.encode(A, None, encode("now that all is quiet"))


async def test_above_what_the_device_can_do_it_answers_as_much_as_it_can(autojump_clock: MockClock) -> None:
    """Three times too many requests, each with a second of its own: nearly all the device does is answered."""
    device, chance = Costly(), random.Random(5)
    told: Counter[str] = Counter()

    async def ask(compute: Compute, at: int) -> None:
        with trio.move_on_after(1) as time:
            try:
                await compute.encode(A, None, encode(f"a b c d e f g h i {at}"))
                told["answered"] += 1
            except QueueFull:
                told["refused"] += 1
        told["late"] += time.cancelled_caught

    async with running(device, queue_items=100_000) as compute:
        await compute.encode(A, None, encode(*(f"a b c d e f g h i j{at}" for at in range(500))), wait_s=9)
        device.batches.clear()
        async with trio.open_nursery() as nursery:
            for at in range(9000):
                nursery.start_soon(ask, compute, at)
                await trio.sleep(chance.expovariate(300))
    ran = sum(len(texts) for _, texts in device.batches)
    assert told["answered"] > 0.95 * ran
    assert told["answered"] > 0.90 * 9000 / 300 * 100  # a hundred a second
    assert told["late"] < 0.02 * told["answered"]


async def test_two_models_take_turns(autojump_clock: MockClock) -> None:
    model_a = made_model("org/a", profiles={"one": {"extends": "default", "max_batch_tokens": 1}})
    model_b = made_model("org/b", profiles={"one": {"extends": "default", "max_batch_tokens": 1}})
    device = device_of(a=Script(run_s=1), b=Script(run_s=1))
    async with running(device) as compute:
        await compute.encode(model_a, "one", encode("0"), wait_s=9)
        await compute.encode(model_b, "one", encode("0"), wait_s=9)
        device.batches.clear()
        async with trio.open_nursery() as nursery:
            await started(
                nursery,
                lambda: compute.encode(model_a, "one", encode("1", "2", "3", "4")),
                lambda: compute.encode(model_b, "one", encode("1", "2")),
            )
    # The one that came second is next; then the first, whose queue is older, has a little more of the time.
    assert [name for name, _ in device.batches] == [f"org/{name}" for name in "abaaba"]


async def test_a_crash_fails_the_requests_of_its_batch_and_nothing_else(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=1, run_failures=deque([None, ValueError("bad tensor"), None])))
    outcomes: dict[str, object] = {}
    async with running(device) as compute:
        await compute.preload(A)

        async def ask(*texts: str) -> None:
            try:
                outcomes[texts[0]] = await compute.encode(A, None, encode(*texts))
            except InferenceFailed as fault:
                outcomes[texts[0]] = fault.message

        async with trio.open_nursery() as nursery:
            await started(nursery, lambda: ask("before"), lambda: ask("in it"), lambda: ask("too", "long " * 400))
        await ask("after")
        assert compute.describe(A).loaded
    assert isinstance(outcomes["before"], EncodeAnswer)
    assert isinstance(outcomes["after"], EncodeAnswer)
    assert "bad tensor" in str(outcomes["in it"])
    assert "bad tensor" in str(outcomes["too"])
    # The long one had begun when the batch before it turned out to have failed.
    assert [sorted(one)[0].strip()[:6] for one in texts_of(device)] == ["before", "in it", "long l", "after"]


async def test_a_model_that_answers_too_little_fails_its_requests_and_nothing_else(autojump_clock: MockClock) -> None:
    class Forgetful(FakeDevice):
        forgets = True

        def results(self, adapter: Adapter, rows: Sequence[Row]) -> list[Result]:
            return super().results(adapter, rows)[self.forgets :]

    device = Forgetful()
    async with running(device) as compute:
        await compute.preload(A)
        with pytest.raises(InferenceFailed):
            await compute.encode(A, None, encode("a", "b"))
        device.forgets = False
        assert len(values(await compute.encode(A, None, encode("a", "b")))) == 2


async def test_a_batch_without_memory_is_tried_as_two_halves(autojump_clock: MockClock) -> None:
    full = DeviceOutOfMemory("full")
    device = device_of(a=Script(run_failures=deque([full, None, None, full, full, None])))
    async with running(device) as compute:
        answer = await compute.encode(A, None, encode("a", "b", "c"), wait_s=9)
        assert len(values(answer)) == 3
        with pytest.raises(InferenceFailed):
            await compute.encode(A, None, encode("d", "e"))
    assert texts_of(device) == [["a", "b", "c"], ["a"], ["b", "c"], ["d", "e"], ["d"]]


async def test_what_cannot_be_tokenised_fails_its_own_request(autojump_clock: MockClock) -> None:
    class Choking(FakeDevice):
        async def tokenise(self, adapter: Any, texts: Any, options: Any) -> Any:
            if "bone" in texts:
                raise RuntimeError("choked")
            return await super().tokenise(adapter, texts, options)

    async with running(Choking()) as compute:
        with pytest.raises(InferenceFailed) as failed:
            await compute.encode(A, None, encode("bone"), wait_s=9)
        assert "choked" in failed.value.message
        await compute.encode(A, None, encode("soup"))


async def test_timing_adds_up(autojump_clock: MockClock) -> None:
    device = device_of(a=Script(run_s=2, tokenise_s=0.5))
    async with running(device) as compute:
        await compute.preload(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: compute.encode(A, None, encode("first")))
            await trio.sleep(1)
            timing = (await compute.encode(A, None, encode("a b", "c"))).timing
    # 0.5 tokenising, until 2.5 behind the first, 2 on the device.
    assert timing.tokenization_ms == pytest.approx(500)
    assert timing.queue_ms == pytest.approx(1000)
    assert timing.inference_ms == pytest.approx(2000)
    assert timing.total_ms == pytest.approx(3500)
    assert timing.tokens == 3


async def test_pairs_are_scored_together_and_ranked(autojump_clock: MockClock) -> None:
    model = made_model("org/a", adapter="sie_server.adapters.cross_encoder:CrossEncoderAdapter")
    device = device_of()
    async with running(device) as compute:
        answer = await compute.score(model, None, score("query", "one", "two", "three"), wait_s=9)
    assert texts_of(device) == [["query one", "query two", "query three"]]
    ranked = [one.score for one in answer.scores]
    assert ranked == sorted(ranked, reverse=True)
    assert [one.rank for one in answer.scores] == [0, 1, 2]
    assert {one.item_id for one in answer.scores} == {"item-0", "item-1", "item-2"}


async def test_a_dense_model_scores_by_the_best_match_of_each_query_token(autojump_clock: MockClock) -> None:
    async with running() as compute:
        answer = await compute.score(A, None, score("red fox", "a red fox ran", "a blue whale"), wait_s=9)
    assert [one.item_id for one in answer.scores] == ["item-0", "item-1"]
    assert answer.scores[0].score == pytest.approx(2)


async def test_statistics_count_what_was_done(autojump_clock: MockClock) -> None:
    async with running() as compute:
        await compute.encode(A, None, encode("a", "b c"), wait_s=9)
        (one,) = compute.statistics().models
    assert (one.counts.batches, one.counts.items, one.counts.tokens, one.counts.padded_tokens) == (1, 2, 3, 4)
    assert one.state == "loaded"
    assert one.queue_depth == 0


async def test_the_end_tells_everybody_in_the_pipeline(autojump_clock: MockClock) -> None:
    compute = Compute(Settings(), device=device_of(a=Script(run_s=math.inf)))
    told = 0
    async with trio.open_nursery() as outer, trio.open_nursery() as service:
        await service.start(compute.run)
        await compute.preload(A)

        async def ask(text: str) -> None:
            nonlocal told
            with pytest.raises(ShuttingDown):
                await compute.encode(A, None, encode(text))
            told += 1

        await started(outer, lambda: ask("running"), lambda: ask("waiting"))
        service.cancel_scope.cancel(reason="the process ends")
    assert told == 2
