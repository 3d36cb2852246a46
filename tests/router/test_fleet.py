"""The fleet: who counts as having confirmed, and when waiting for more ends."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.router.fleet import Fleet, Needed
from sie.wire.status import Nack, WorkerStatus

NEEDED = Needed(revisions={"s": 7}, model="a/b", profiles=("default",), bundles=("one", "two"))


def status(
    name: str, bundle: str = "one", *, revision: int = 0, store: str = "s", nacks: tuple[Nack, ...] = ()
) -> WorkerStatus:
    return WorkerStatus(name=name, bundle=bundle, ready=True, store=store, revision=revision, nacks=nacks)


def fleet_of(*workers: WorkerStatus) -> Fleet:
    fleet = Fleet()
    for worker in workers:
        fleet.heard(worker)
    return fleet


def test_a_worker_confirms_by_revision_and_store() -> None:
    fleet = fleet_of(
        status("behind", revision=6), status("there", revision=7), status("foreign", revision=9, store="x")
    )
    acks = fleet.acks(NEEDED)
    assert (acks.total, acks.acked, acks.acked_bundles, acks.pending) == (3, 1, ("one",), True)


def test_one_confirmation_in_each_eligible_bundle_is_enough_to_say_not_pending() -> None:
    fleet = fleet_of(status("a", revision=7), status("b"), status("c", "two", revision=8))
    assert not fleet.acks(NEEDED).pending


def test_a_bundle_without_workers_keeps_the_answer_pending() -> None:
    assert fleet_of(status("a", revision=7)).acks(NEEDED).pending
    assert Fleet().acks(NEEDED).pending


def test_a_refused_profile_is_a_nack_however_far_the_worker_has_read() -> None:
    refused = Nack("a/b", "default", "no such class")
    acks = fleet_of(status("a", revision=9, nacks=(refused,))).acks(NEEDED)
    assert (acks.acked, acks.nacks) == (0, {"a": (refused,)})


def test_what_a_file_brought_needs_no_store() -> None:
    fleet = fleet_of(status("a", store=""))
    assert [one.name for one in fleet.serving("one", store="s", revision=0)] == ["a"]
    assert fleet.serving("one", store="s", revision=1) == ()


async def test_waiting_ends_at_once_without_workers(autojump_clock: MockClock) -> None:
    await Fleet().wait_acked(NEEDED, linger_s=0.05)
    assert trio.current_time() == 0


async def test_waiting_ends_when_everybody_has_answered(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    fleet = fleet_of(status("a"), status("b"))

    async def answers() -> None:
        await trio.sleep(1)
        fleet.heard(status("a", nacks=(Nack("a/b", "default", "no"),)))
        await trio.sleep(1)
        fleet.heard(status("b", revision=7))

    nursery.start_soon(answers)
    await fleet.wait_acked(NEEDED, linger_s=50)
    assert trio.current_time() == 2


async def test_after_one_ack_a_bundle_the_others_get_a_little_longer(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fleet = fleet_of(status("quick"), status("slow"), status("two", "two", revision=7))

    async def answers() -> None:
        await trio.sleep(1)
        fleet.heard(status("quick", revision=7))

    nursery.start_soon(answers)
    await fleet.wait_acked(NEEDED, linger_s=0.05)
    assert trio.current_time() == pytest.approx(1.05)


async def test_a_worker_that_leaves_is_not_waited_for(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    fleet = fleet_of(status("a"))

    async def wait() -> None:
        await fleet.wait_acked(NEEDED, linger_s=math.inf)

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    fleet.left("a")


def old(config_hash: str) -> WorkerStatus:
    return WorkerStatus(name="old", bundle="one", ready=True, by_hash=True, bundle_config_hash=config_hash)


async def test_a_worker_of_v0_1_10_confirms_by_a_hash_of_this_revision_or_a_later_one() -> None:
    fleet = fleet_of(old("of six"))
    for revision, config_hash in ((6, "of six"), (7, "of seven"), (8, "of eight")):
        fleet.note_hash("one", config_hash, store="s", revision=revision)
    assert fleet.acks(NEEDED).acked == 0
    fleet.heard(old("of eight"))
    assert fleet.acks(NEEDED).acked == 1
    fleet.heard(old("of something else"))
    assert fleet.acks(NEEDED).acked == 0


async def test_a_worker_of_v0_1_10_is_kept_from_new_profiles_for_three_seconds_at_most(
    autojump_clock: MockClock,
) -> None:
    fleet = fleet_of(old("of nothing we know"))
    fleet.note_hash("one", "of seven", store="s", revision=7)
    await trio.sleep(2.9)
    assert fleet.serving("one", store="s", revision=7) == ()
    assert [one.name for one in fleet.serving("one", store="s", revision=0)] == ["old"]
    await trio.sleep(0.2)
    assert [one.name for one in fleet.serving("one", store="s", revision=7)] == ["old"]
