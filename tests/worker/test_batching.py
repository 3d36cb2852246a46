"""Batches: every item once, within the budget, and nobody behind somebody's ten thousand items."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.worker.batching import PADDING_FREE, PADDING_SHARE, ItemQueue, Waiting, window

LENGTHS = st.integers(min_value=1, max_value=600)
REQUESTS = st.lists(st.lists(LENGTHS, min_size=1, max_size=30), min_size=1, max_size=8)
BUDGETS = st.integers(min_value=1, max_value=4000)


def items_of(requests: list[list[int]]) -> list[Waiting]:
    return [
        Waiting(tokens, number, position)
        for number, request in enumerate(requests)
        for position, tokens in enumerate(request)
    ]


def taken(queue: ItemQueue, budget: int) -> Sequence[Waiting]:
    batch = queue.choose(budget)
    assert batch is not None
    queue.take(batch)
    assert batch.padded_tokens == len(batch.items) * max(item.tokens for item in batch.items)
    return batch.items


def emptied(queue: ItemQueue, budget: int) -> list[Sequence[Waiting]]:
    batches = []
    while len(queue):
        batches.append(taken(queue, budget))
    return batches


@given(REQUESTS, BUDGETS)
def test_every_item_is_taken_once(requests: list[list[int]], budget: int) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    assert sorted(item for batch in emptied(queue, budget) for item in batch) == sorted(items_of(requests))
    assert queue.choose(budget) is None
    assert queue.head() is None
    assert queue.oldest() is None
    assert queue.ahead(budget) == 0


@given(REQUESTS, BUDGETS)
def test_a_batch_is_within_the_budget_unless_it_is_one_item(requests: list[list[int]], budget: int) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    for batch in emptied(queue, budget):
        assert batch == sorted(batch)
        assert len(batch) == 1 or len(batch) * batch[-1].tokens <= budget


@given(REQUESTS, BUDGETS)
def test_padding_stays_within_its_share(requests: list[list[int]], budget: int) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    for batch in emptied(queue, budget):
        real = sum(item.tokens for item in batch)
        padding = len(batch) * batch[-1].tokens - real
        assert padding <= max(PADDING_FREE, PADDING_SHARE * (real + padding))


@given(REQUESTS, BUDGETS)
def test_a_request_is_in_one_of_twice_as_many_batches_as_requests_wait(requests: list[list[int]], budget: int) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    served_at = dict.fromkeys(range(len(requests)), 0)
    left = dict(enumerate(map(len, requests)))
    for number, batch in enumerate(emptied(queue, budget), start=1):
        for item in batch:
            left[item.request] -= 1
            served_at[item.request] = number
        for request, count in left.items():
            assert not count or number - served_at[request] < 2 * len(requests)


@given(REQUESTS, BUDGETS, st.data())
def test_a_removed_request_is_never_taken(requests: list[list[int]], budget: int, data: st.DataObject) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    gone = data.draw(st.integers(min_value=0, max_value=len(requests) - 1))
    taken(queue, budget)
    queue.remove(gone)
    queue.remove(gone)
    assert all(item.request != gone for batch in emptied(queue, budget) for item in batch)


@given(st.lists(LENGTHS, min_size=1, max_size=40), BUDGETS, st.data())
def test_the_window_holds_its_anchor(lengths: list[int], budget: int, data: st.DataObject) -> None:
    waiting = [Waiting(tokens, 0, position) for position, tokens in enumerate(sorted(lengths))]
    anchor = data.draw(st.integers(min_value=0, max_value=len(waiting) - 1))
    low, high = window(waiting, anchor, budget)
    assert low <= anchor < high


@given(REQUESTS, REQUESTS, BUDGETS)
def test_what_comes_after_a_choice_leaves_it_as_it_is(
    requests: list[list[int]], late: list[list[int]], budget: int
) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    chosen = queue.choose(budget)
    assert chosen is not None
    assert queue.choose(budget) == chosen
    more = [item._replace(request=item.request + 100) for item in items_of(late)]
    queue.add(more)
    queue.take(chosen)
    rest = [item for batch in emptied(queue, budget) for item in batch]
    assert sorted([*chosen.items, *rest]) == sorted([*items_of(requests), *more])


@pytest.mark.parametrize("batches", [1, 2, 7])
def test_one_item_is_in_the_next_batch_behind_ten_thousand(batches: int) -> None:
    queue = ItemQueue()
    queue.add([Waiting(20, 0, position) for position in range(10_000)])
    for _ in range(batches):
        taken(queue, 8192)
    queue.add([Waiting(300, 1, 0)])
    if batches == 1:
        taken(queue, 8192)  # after a first turn comes a later one
    assert any(item.request == 1 for item in taken(queue, 8192))


def test_those_who_come_anew_leave_every_other_turn_to_the_others() -> None:
    queue = ItemQueue()
    queue.add([Waiting(20, 0, position) for position in range(1000)])
    served = []
    for number in range(1, 21):
        queue.add([Waiting(300, number, 0)])
        served.append({item.request for item in taken(queue, 400)})
    assert sum(0 in one for one in served) == 11  # the first of them was its first


@given(REQUESTS, BUDGETS, st.integers(min_value=1, max_value=2000))
def test_what_is_ahead_of_one_that_comes_now(requests: list[list[int]], budget: int, most: int) -> None:
    queue = ItemQueue()
    queue.add(items_of(requests))
    assert queue.ahead(most) == sum(min(most, sum(lengths)) for lengths in requests)
    gone = {item.request: 0 for item in items_of(requests)}
    for item in taken(queue, budget):
        gone[item.request] += item.tokens
    assert queue.ahead(10**9) == sum(map(sum, requests)) - sum(gone.values())


def test_items_of_several_requests_share_a_batch() -> None:
    queue = ItemQueue()
    queue.add([Waiting(10, request, 0) for request in range(50)])
    assert len(taken(queue, 8192)) == 50


def test_a_short_text_is_not_padded_to_a_long_one() -> None:
    queue = ItemQueue()
    queue.add([Waiting(500, 0, 0), *(Waiting(5, request, 0) for request in range(1, 100))])
    assert len(taken(queue, 8192)) == 1


def test_an_item_longer_than_the_budget_goes_alone() -> None:
    queue = ItemQueue()
    queue.add([Waiting(900, 0, 0), Waiting(899, 0, 1), Waiting(10, 0, 2)])
    assert [len(batch) for batch in emptied(queue, 512)] == [1, 1, 1]
