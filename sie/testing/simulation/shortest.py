"""The shortest part of a schedule that still goes wrong in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sie.testing.simulation.schedule import Crash, Cut, Post, Schedule


def shortest(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Leave out, one after the other, all that `fails` does not need; it must fail with the schedule as given."""
    found = True
    while found:
        found = False
        for smaller in _smaller(schedule):
            if fails(smaller):
                schedule, found = smaller, True
                break
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    actions, cluster = schedule.actions, schedule.cluster
    for left in range(len(actions)):
        yield replace(schedule, actions=(*actions[:left], *actions[left + 1 :]))
    named = {(one.who, one.number) for one in actions if isinstance(one, Crash | Cut)}
    if cluster.bundles and ("worker", len(cluster.bundles) - 1) not in named:
        yield replace(schedule, cluster=replace(cluster, bundles=cluster.bundles[:-1]))
    last = cluster.routers - 1
    asked = {getattr(one, "router", 0) for one in actions} | {number for who, number in named if who == "router"}
    if last and last not in asked and not any(isinstance(one, Post) and one.again for one in actions):
        yield replace(schedule, cluster=replace(cluster, routers=last))
    for place, one in enumerate(actions):
        if isinstance(one, Post):
            simpler = [replace(one, again=0)] if one.again else []
            simpler += [replace(one, key="")] if one.key else []
            if len(one.profiles) > 1:
                simpler += [
                    replace(one, profiles=one.profiles[:left] + one.profiles[left + 1 :])
                    for left in range(len(one.profiles))
                ]
            for other in simpler:
                yield replace(schedule, actions=(*actions[:place], other, *actions[place + 1 :]))
