"""The verdict: what everybody holds once the faults have ended, and whether the whole history keeps each guarantee."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from sie.catalog.entry import Entry
from sie.catalog.model import Model
from sie.files import load_catalog
from sie.settings import Settings
from spec.history import Event, Listing, Settled, write_history
from spec.judge import judge as judge_history
from spec.judge import report
from tests.faults.client import Client, contents
from tests.faults.cluster import Cluster, Part, healthy
from tests.test_cluster import MODELS

WITHIN_S = 2.0
DOCUMENTED = {0, 200, 201, 503}  # no document of a Client is bad or contradicts another


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the store holds over the files that everybody has; per bundle its newest revision and its digest."""

    entries: Sequence[Entry]
    models: Sequence[Model]
    bundles: Mapping[str, tuple[int, str]]


def read_truth(cluster: Cluster) -> Truth:
    """The store's entries, folded over the files that every part has."""
    entries = cluster.entries()
    catalog, _ = load_catalog(Settings.from_environment(cluster.environment))
    for entry in entries:
        catalog.apply(entry)
    return Truth(
        entries=entries,
        models=catalog.models(),
        bundles={one: (catalog.bundle_head(one), catalog.digest(one)) for one in catalog.bundles},
    )


def judge(
    cluster: Cluster,
    client: Client,
    *,
    within_s: float = WITHIN_S,
    since: float | None = None,
    excused: Sequence[str] = (),
) -> float:
    """Call it when the faults have ended and nobody posts any more. Returns how long it took until all were level.

    Within so many seconds every running router lists exactly what the store has, and every running worker is, as every
    router hears it, at the store's revision and digest. Then what everybody holds goes into the client's history, and
    that is written beside the cluster's other files and judged: see `spec.guarantees`. `since`: when the faults ended,
    on the monotonic clock; None is now. `excused`: who may list something else in the end.
    """
    took_s = wait_level(cluster, within_s=within_s, since=since)
    for answer in client.answers:
        assert answer.status in DOCUMENTED, answer
    client.history += _final(cluster, {one.model for one in client.answers}, excused, within_s=within_s)
    path = cluster.folder / f"{client.name}.history.jsonl"
    with path.open("w", encoding="utf-8") as file:
        write_history(client.history, file)
    print(f"{len(client.history)} events in {path}")
    broken = judge_history(client.history)
    assert not broken, f"python -m spec judge {path}\n{report(broken)}"
    return took_s


def _final(cluster: Cluster, models: Set[str], excused: Sequence[str], *, within_s: float) -> Sequence[Event]:
    """What everybody holds now. Asked for again while they differ, as where a write landed between two of them."""
    deadline = time.monotonic() + within_s
    while True:
        final: list[Event] = [Settled(at=time.monotonic(), excused=excused), *_listings(cluster, models)]
        if not judge_history(final) or time.monotonic() > deadline:
            return final


def _listings(cluster: Cluster, models: Set[str]) -> Iterator[Listing]:
    """What the store, the running routers and the running workers hold: of these models with their contents, where they
    can be had, of all others by name."""
    now = time.monotonic()
    truth = read_truth(cluster)
    yield Listing(
        at=now,
        who="the store",
        role="store",
        models={
            one.sie_id: contents({name: profile.content for name, profile in one.profiles.items()})
            for one in truth.models
        },
        revision=truth.entries[-1].revision,
        entries=[(one.revision, one.model_id, tuple(one.profiles)) for one in truth.entries],
        heads=truth.bundles,
    )
    heads: dict[str, tuple[int, str]] = {}
    for router in (one for one in cluster.routers if one.running):
        with httpx.Client(base_url=router.address, timeout=30) as http:
            known = {model: dict.fromkeys(profiles, "") for model, profiles in listed(router).items()}
            for model in known.keys() & models:
                known[model] = dict(contents(yaml.safe_load(http.get(f"{MODELS}/{model}").text)["profiles"]))
            revision = int(http.get(MODELS).headers["X-SIE-Config-Revision"])
        yield Listing(at=now, who=router.address, role="router", models=known, revision=revision)
        heads |= heard(router)
    for worker in (one for one in cluster.workers if one.running and one.address in heads):
        served = httpx.get(f"{worker.address}/v1/models", timeout=30).json()["models"]
        revision, digest = heads[worker.address]
        yield Listing(
            at=now,
            who=worker.address,
            role="worker",
            bundle=worker.flags[worker.flags.index("--bundle") + 1],
            models={one["name"]: dict.fromkeys(one["profiles"], "") for one in served},
            revision=revision,
            digest=digest,
        )


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
    models = {one.sie_id: frozenset(one.profiles) for one in truth.models}
    found = []
    for router in (one for one in cluster.routers if one.running):
        found += _compare(f"router {router.address} lists", listed, router, models)
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
