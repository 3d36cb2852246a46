"""Schedules: the same for a seed, everything in them sooner or later, and cut down to what matters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from sie.testing.simulation.broker import BusWeather
from sie.testing.simulation.schedule import Crash, Cut, Down, Post, Schedule, Storm, draw
from sie.testing.simulation.shortest import shortest
from sie.testing.simulation.store import StoreWeather

STORE_FAULTS = ("refused", "lost", "unheard", "late")


def test_a_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert draw(5) == draw(5)
    assert len({str(draw(seed)) for seed in range(300)}) == 300


def test_everything_that_can_be_done_is_done_within_a_few_hundred_seeds() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(400):
        schedule = draw(seed)
        cluster = schedule.cluster
        kinds.update([cluster.stores, f"{cluster.routers} routers", f"{len(cluster.bundles)} workers"])
        kinds.update(["bus" if cluster.bus else "no bus", f"key {cluster.bus_key}", f"restore {cluster.restore}"])
        kinds.update([f"readers {cluster.shared_readers}"])
        for action in schedule.actions:
            match action:
                case Crash(who=who) | Cut(who=who):
                    kinds[f"{type(action).__name__} {who} {getattr(action, 'off', '')}"] += 1
                case Down(what=what):
                    kinds[f"down {what}"] += 1
                case Storm(weather=BusWeather() as bus):
                    kinds.update(f"bus {one}" for one in ("drop", "double", "reorder") if getattr(bus, one))
                case Storm(weather=StoreWeather() as store):
                    kinds.update(f"store {one}" for one in STORE_FAULTS if getattr(store, one))
                case Post():
                    kinds.update([f"again {action.again > 0}", f"key {action.key != ''}"])
                case _:
                    kinds[type(action).__name__] += 1
    wanted = {
        *("shared", "own", "memory", "bus", "no bus", "1 routers", "2 routers", "3 routers", "0 workers", "3 workers"),
        *(f"Crash {who} " for who in ("router", "worker")),
        *(f"Cut {who} {off}" for who in ("router", "worker") for off in ("bus", "store", "status")),
        *("down broker", "down store", "Ask", "Watch", "Wipe"),
        *("bus drop", "bus double", "bus reorder", *(f"store {one}" for one in STORE_FAULTS)),
        *(f"{kind} {value}" for kind in ("again", "key", "restore", "readers") for value in (True, False)),
    }
    assert wanted <= kinds.keys(), wanted - kinds.keys()


def test_a_schedule_is_cut_down_to_what_makes_it_fail() -> None:
    schedule = next(one for one in map(draw, range(10_000)) if needs_two(one) and len(one.actions) > 8)
    found = shortest(schedule, needs_two)
    assert len(found.actions) == 2
    assert all(len(one.profiles) == 1 for one in found.actions if isinstance(one, Post))
    assert found.seed == schedule.seed
    assert shortest(found, needs_two) == found


def needs_two(schedule: Schedule) -> bool:
    """A made-up fault: it takes a crashed router and a post."""
    kinds = {(type(one), getattr(one, "who", "")) for one in schedule.actions}
    return (Crash, "router") in kinds and (Post, "") in kinds


def test_what_is_left_out_may_be_a_worker_or_a_router() -> None:
    schedule = draw(3)
    three = replace(
        schedule,
        cluster=replace(schedule.cluster, routers=3, bundles=("default", "default")),
        actions=(Post(at=1, router=0, model="org/m", profiles=(("default", "a:B", 0),)),),
    )
    found = shortest(three, lambda one: bool(one.actions))
    assert (found.cluster.routers, found.cluster.bundles) == (1, ())
