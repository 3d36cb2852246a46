"""The judge: what was answered, compared with what the store, the routers and the workers hold afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from sie.catalog.entry import Entry
from sie.files import load_catalog
from sie.settings import Settings
from tests.faults.client import Answer
from tests.faults.cluster import Cluster, Part, healthy
from tests.test_cluster import MODELS

WITHIN_S = 2.0
DOCUMENTED = {0, 200, 201, 503}  # no document of a Client is bad or contradicts another


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the store holds: per model its profiles, per bundle its newest revision and its digest."""

    entries: Sequence[Entry]
    profiles: Mapping[str, frozenset[str]]
    bundles: Mapping[str, tuple[int, str]]


def read_truth(cluster: Cluster) -> Truth:
    """The store's entries, folded over the files that every part has."""
    entries = cluster.entries()
    catalog, _ = load_catalog(Settings.from_environment(cluster.environment))
    for entry in entries:
        catalog.apply(entry)
    return Truth(
        entries=entries,
        profiles={one.sie_id: frozenset(one.profiles) for one in catalog.models()},
        bundles={one: (catalog.bundle_head(one), catalog.digest(one)) for one in catalog.bundles},
    )


def judge(
    cluster: Cluster, answers: Iterable[Answer], *, within_s: float = WITHIN_S, since: float | None = None
) -> float:
    """Call it when the faults have ended and nobody posts any more. Returns how long it took until all were level.

    Every 2xx is in the store, nothing refused is anywhere, each (model, profile) was created once, and within so many
    seconds every running router lists exactly what the store has, and every running worker is, as every router hears
    it, at the store's revision and digest. `since`: when the faults ended, on the monotonic clock; None is now.
    """
    took_s = wait_level(cluster, within_s=within_s, since=since)
    truth = read_truth(cluster)
    created = Counter((one.model_id, profile) for one in truth.entries for profile in one.profiles)
    doubled = {key: times for key, times in created.items() if times > 1}
    assert not doubled, f"created more than once: {doubled}"
    numbers = sorted(one.revision for one in truth.entries)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "the log has a gap"
    by_number: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        assert answer.status in DOCUMENTED, answer
        by_number.setdefault((answer.model, answer.profile), []).append(answer)
    for (model, profile), given in by_number.items():
        there = (model, profile) in created
        if any(one.accepted for one in given):
            assert there, f"lost: {given}"
        elif all(one.refused for one in given):
            assert not there, f"a ghost: {given}"
        times = sum(profile in one.created for one in given if one.accepted)
        assert times <= 1, f"two clients were told that they created it: {given}"
        if there and all(one.accepted or one.refused for one in given):
            assert times == 1, f"nobody was told that they created it: {given}"
    return took_s


def wait_level(cluster: Cluster, *, within_s: float = WITHIN_S, since: float | None = None) -> float:
    """Until no difference is left between the store, the running routers and the running workers."""
    began = time.monotonic() if since is None else since
    while differences := _differences(cluster):
        assert time.monotonic() - began < within_s, f"after {within_s:g} s:\n" + "\n".join(differences)
        time.sleep(0.05)
    took_s = time.monotonic() - began
    print(f"level after {took_s:.2f} s")
    return took_s


def _differences(cluster: Cluster) -> list[str]:
    """In words, those between the store and whoever runs."""
    truth = read_truth(cluster)
    bundle_of = {one.address: one.flags[one.flags.index("--bundle") + 1] for one in cluster.workers if one.running}
    wanted = {address: truth.bundles[bundle] for address, bundle in bundle_of.items()}
    found = []
    for router in (one for one in cluster.routers if one.running):
        found += _compare(f"router {router.address} lists", listed, router, truth.profiles)
        dialled = {url: wanted[url] for url in router.flags if url in wanted}
        found += _compare(f"router {router.address} hears", heard, router, dialled)
    return found


def listed(router: Part) -> Mapping[str, frozenset[str]]:
    """The models a router knows, with their profiles."""
    models: list[dict[str, Any]] = httpx.get(router.address + MODELS, timeout=10).json()["models"]
    return {one["model_id"]: frozenset(one["profiles"]) for one in models}


def heard(router: Part) -> Mapping[str, tuple[int, str]]:
    """By worker's URL, the revision and the digest that a router has heard of last."""
    return {one["url"]: (one["config_revision"], one["config_digest"]) for one in healthy(router)}


def _compare(who: str, ask: Callable[[Part], Mapping[str, Any]], router: Part, wanted: Mapping[str, Any]) -> list[str]:
    try:
        found = ask(router)
    except (httpx.HTTPError, ValueError) as fault:
        return [f"{who} nothing: {fault!r}"]
    keys = [key for key in {*found, *wanted} if found.get(key) != wanted.get(key)]
    return [f"{who} {key}: {found.get(key)!r}, not {wanted.get(key)!r}" for key in sorted(keys)]
