"""What a router counts of its traffic, and which machines it says are wanted."""

from __future__ import annotations

from sie.observe.durations import Durations
from sie.router.demand import Demand
from sie.router.traffic import Traffic


def test_durations_are_counted_up_to_each_bound_and_beyond() -> None:
    took = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        took.note(seconds)
    assert took.buckets() == [("0.1", 2), ("1", 3), ("+Inf", 4)]
    assert took.sum_s == 0.05 + 0.1 + 0.5 + 7.0


def test_answers_are_counted_by_endpoint_status_and_machine() -> None:
    traffic = Traffic(())
    traffic.answered("/v1/encode/org/model", 200, "l4", took_s=0.2)
    traffic.answered("/v1/encode/other", 200, "l4", took_s=0.2)
    traffic.answered("/v1/embeddings", 400, "", took_s=0.2)
    assert traffic.requests == {("encode", 200, "l4"): 2, ("embeddings", 400, ""): 1}
    assert traffic.began["encode", "l4"].buckets()[-1] == ("+Inf", 2)


def test_names_that_clients_invent_make_no_series_of_their_own() -> None:
    traffic = Traffic(("L4",))
    for machine in ("l4", "invented-1", "invented-2"):
        traffic.unmet(machine, "default", 0.0)
    assert traffic.provisioning == {"l4": 1, "other": 2}


def test_a_machine_is_wanted_until_it_is_there_or_nobody_asks_any_more() -> None:
    def nothing(machine: str, bundle: str) -> bool:
        return False

    demand = Demand()
    demand.note("l4", "default", 0.0)
    demand.note("l4", "sglang", 100.0)
    assert demand.pending(119.0, nothing) == [("l4", "default"), ("l4", "sglang")]
    assert demand.pending(120.0, nothing) == [("l4", "sglang")]
    assert demand.pending(120.0, lambda machine, bundle: bundle == "sglang") == []
    assert demand.pending(120.0, nothing) == []


def test_wanted_machines_do_not_fill_the_memory() -> None:
    demand = Demand()
    for number in range(5000):
        demand.note(f"invented-{number}", "default", float(number) / 1000)
    wanted = demand.pending(5.0, lambda machine, bundle: False)
    assert len(wanted) == 1000
    assert wanted[-1] == ("invented-4999", "default")
