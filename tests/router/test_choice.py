"""The choice among workers that may serve: the right machine, the model resident, the least to do, each in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.errors import GpuNotConfigured
from sie.router.choice import asked_machine, best, machines_for, on_machines
from sie.wire.status import WorkerStatus


def worker(name: str, *, loaded: Sequence[str] = (), depth: int = 0, machine: str = "") -> WorkerStatus:
    return WorkerStatus(
        name=name, bundle="b", ready=True, loaded_models=loaded, queue_depth=depth, machine_profile=machine
    )


def ordered(
    *workers: WorkerStatus, names: Sequence[str] = ("m",), in_flight: dict[str, int] | None = None, turn: int = 0
) -> list[str]:
    """As they are tried, one after the other."""
    left, tried = list(workers), []
    while left:
        tried.append(best(left, names=frozenset(names), in_flight=in_flight or {}, turn=turn))
        left.remove(tried[-1])
    return [one.name for one in tried]


def test_a_worker_that_has_the_model_comes_first_however_busy_it_is() -> None:
    assert ordered(worker("idle"), worker("busy", loaded=["m"], depth=99)) == ["busy", "idle"]


def test_a_model_may_be_resident_under_its_name_or_its_profiles() -> None:
    assert ordered(worker("a"), worker("b", loaded=["m:p"]), names=("m", "m:p")) == ["b", "a"]


def test_the_least_loaded_comes_first_and_what_is_under_way_counts() -> None:
    assert ordered(worker("a", depth=3), worker("b", depth=1), worker("c", depth=2)) == ["b", "c", "a"]
    assert ordered(worker("a"), worker("b"), in_flight={"a": 1}) == ["b", "a"]
    assert ordered(worker("a", depth=2), worker("b"), in_flight={"b": 3}) == ["a", "b"]


@given(st.integers(1, 8), st.integers(0, 1000))
def test_equal_workers_share_the_turns(count: int, begin: int) -> None:
    workers = [worker("busy", depth=1), *(worker(str(number)) for number in range(count))]
    first = Counter(ordered(*workers, turn=begin + turn)[0] for turn in range(count * 3))
    assert first == {str(number): 3 for number in range(count)}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), max_size=6), st.integers(0, 99))
def test_who_is_tried_next_is_never_better_than_who_was_tried(given: list[tuple[bool, int, int]], turn: int) -> None:
    workers = [
        worker(str(place), loaded=["m"] if resident else [], depth=depth)
        for place, (resident, depth, _) in enumerate(given)
    ]
    in_flight = {str(place): flying for place, (_, _, flying) in enumerate(given)}
    by_name = {one.name: one for one in workers}
    found = [by_name[name] for name in ordered(*workers, in_flight=in_flight, turn=turn)]
    ranks = [("m" not in one.loaded_models, one.queue_depth + in_flight[one.name]) for one in found]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("header", "machine"),
    [
        (None, None),
        ("", None),
        ("l4", "l4"),
        (" L4 ", "l4"),
        ("pool/L4", "l4"),
        ("pool/l4-spot", "l4-spot"),
        ("pool/", None),
        ("/l4", "l4"),
    ],
)
def test_the_header_names_a_machine_after_a_pool(header: str | None, machine: str | None) -> None:
    assert asked_machine(header) == machine


def test_a_machine_goes_by_its_name_and_by_its_spot_form_where_only_that_is_configured() -> None:
    assert machines_for("l4", ["L4", "l4-spot"]) == {"l4"}
    assert machines_for("l4", ["L4-spot"]) == {"l4-spot"}
    assert machines_for("l4-spot", ["l4-spot", "l4"]) == {"l4-spot"}
    assert machines_for("l4", []) == {"l4", "l4-spot"}
    assert machines_for("l4-spot", []) == {"l4-spot"}


@pytest.mark.parametrize("asked", ["l5", "l4-spot", "l"])
def test_a_machine_that_is_not_configured_is_refused_with_what_is(asked: str) -> None:
    with pytest.raises(GpuNotConfigured) as refused:
        machines_for(asked, ["l4", "a100"])
    assert refused.value.fields == {"gpu": asked, "configured_gpu_types": ["a100", "l4"]}


def test_workers_are_taken_by_machine_whatever_the_case_and_all_of_them_if_none_is_asked_for() -> None:
    workers = [worker("a", machine="L4"), worker("b", machine="l4-spot"), worker("c")]
    assert [one.name for one in on_machines(workers, {"l4"})] == ["a"]
    assert [one.name for one in on_machines(workers, None)] == ["a", "b", "c"]
