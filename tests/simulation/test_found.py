"""What schedules have found, each as the shortest that still shows it; a fault planted anew is seen by it again."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from sie.testing.simulation.broker import BusWeather
from sie.testing.simulation.run import run
from sie.testing.simulation.schedule import DENSE, SGLANG, Ask, Cluster, Crash, Cut, Down, Post, Schedule, Storm
from sie.testing.simulation.store import StoreWeather
from tests.simulation.mutations import MUTATIONS


@dataclass(frozen=True, slots=True)
class Found:
    """`guarantee`: what was broken; `planted`: the mutation that breaks it again."""

    schedule: Schedule
    guarantee: str
    planted: str


FOUND: Mapping[str, Found] = {
    # A router that heard of a change read the store and told those behind, as did each that heard that.
    "routers told each other's news again without end": Found(
        Schedule(
            seed="40",
            cluster=Cluster(
                routers=3,
                bundles=("default",),
                stores="shared",
                restore=True,
                shared_readers=False,
                bus=True,
                bus_key=True,
                snapshot_every=250,
            ),
            actions=[
                Post(
                    at=0.7469211272377736,
                    router=1,
                    model="org/m0",
                    profiles=(("default", DENSE, 0), ("p1", SGLANG, 0)),
                )
            ],
        ),
        "nobody-floods",
        "news-is-answered-with-news",
    ),
    # Started again while its store was away, a router served what files say, and called the rest unknown.
    "a router that could not read its store yet answered 404": Found(
        Schedule(
            seed="1707",
            cluster=Cluster(
                routers=1,
                bundles=("default", "sglang", "default"),
                stores="shared",
                restore=True,
                shared_readers=False,
                bus=True,
                bus_key=False,
                snapshot_every=3,
            ),
            actions=[
                Post(
                    at=0.9706379628663628,
                    router=0,
                    model="org/m2",
                    profiles=(("default", DENSE, 0), ("p2", "extends:default", 0)),
                ),
                Crash(at=1.2535652802748491, who="router", number=0, steps=0, back_s=0.060082429532989236),
                Storm(
                    at=1.2838707194612102,
                    weather=StoreWeather(refused=0.1, lost=0.3, unheard=0.1, late=0.3),
                    for_s=2.9499478753534305,
                ),
                Ask(at=3.9706379628663626, router=0, model="org/m2", profile="p2"),
            ],
        ),
        "traffic-is-gated",
        "what-was-not-read-is-absent",
    ),
    # A worker that knew more of a lost store than any router was never told so, once it had asked at the wrong moment.
    "workers went on serving what no router knew any more": Found(
        Schedule(
            seed="3229",
            cluster=Cluster(
                routers=2,
                bundles=("default", "sglang"),
                stores="memory",
                restore=True,
                shared_readers=False,
                bus=True,
                bus_key=True,
                snapshot_every=3,
            ),
            actions=[
                Post(at=0.40369345489483033, router=1, model="org/r1-m0", profiles=(("default", DENSE, 1),)),
                Post(
                    at=2.9534414444719324,
                    router=1,
                    model="org/r1-m1",
                    profiles=(("default", DENSE, 0),),
                    patience_s=0.05,
                ),
                Storm(at=2.98697896707479, weather=BusWeather(drop=0.6, double=0.6), for_s=0.39591246765059174),
                Post(at=2.99197896707479, router=0, model="org/r0-m1", profiles=(("default", DENSE, 0),)),
                Crash(at=3.0053339516835322, who="router", number=0, steps=0, back_s=0.2928020406221954),
            ],
        ),
        "everything-converges",
        "a-doubt-is-settled-unheard",
    ),
    # The same, after a question at the right moment: what was compared once counted as compared for good.
    "a worker did not ask again after the store that it had been told of was lost": Found(
        Schedule(
            seed="600030704",
            cluster=Cluster(
                routers=2,
                bundles=("default", "default"),
                stores="memory",
                restore=True,
                shared_readers=False,
                bus=True,
                bus_key=False,
                snapshot_every=3,
            ),
            actions=[
                Cut(at=0.4996757592629245, who="router", number=0, off="bus", for_s=2.9418501323809405),
                Post(at=0.7270935938777581, router=1, model="org/r1-m1", profiles=(("default", DENSE, 0),)),
                Crash(at=0.7327286879547076, who="worker", number=1, steps=0, back_s=4.636532910652946),
                Down(at=0.7330188478779565, what="broker", for_s=0.0409409384394901),
                Storm(
                    at=0.9781838924058001,
                    weather=BusWeather(slow_s=0.1, drop=0.2, double=0.2),
                    for_s=1.73161141747191,
                ),
                Crash(at=1.4556020826310767, who="router", number=1, steps=6, back_s=0.4150761690817694),
            ],
        ),
        "everything-converges",
        "a-doubt-is-settled-unheard",
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once_is_not_found_again(what: str) -> None:
    assert run(FOUND[what].schedule).broken == ()


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once_would_be_seen_again(what: str) -> None:
    found = FOUND[what]
    forking = multiprocessing.get_context("forkserver")
    plant = MUTATIONS[found.planted].plant
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=forking, initializer=plant) as pool:
        assert found.guarantee in pool.submit(broken, found.schedule).result(timeout=60)


def broken(schedule: Schedule) -> set[str]:
    return {name for name, _ in run(schedule).broken}
