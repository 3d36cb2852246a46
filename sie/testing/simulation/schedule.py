# Rule: nothing here awaits, reads a clock, or knows what runs. A schedule is a value, and can be cut down to a part.
"""What is done to a cluster: who is there, what clients ask, what fails and when. Drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sie.testing.simulation.broker import BusWeather
from sie.testing.simulation.store import StoreWeather

# Seconds in which something fails; after them all is well, and everybody has the rest to become level.
FAULTS_S = 8.0

DENSE = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
SGLANG = "sie_server.adapters.sglang:SGLangEmbeddingAdapter"  # of the other bundle

SHIPPED = "sentence-transformers/all-MiniLM-L6-v2"

Stores: TypeAlias = Literal["shared", "own", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`stores`: one that all routers share; one durable one for each router; or each router's own memory.

    `bundles`: of each worker. `shared_readers`: workers read the shared store, too; else they ask routers.
    """

    routers: int
    bundles: Sequence[str]
    stores: Stores
    restore: bool
    shared_readers: bool
    bus: bool
    bus_key: bool
    snapshot_every: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A client posts a document. `key`: with an Idempotency-Key. `patience_s`: then the client hangs up.

    `again`: how often it tries, anywhere, after anything but a certain answer.
    """

    at: float
    router: int
    model: str
    profiles: tuple[tuple[str, str, int], ...]  # name; adapter or `extends:parent`; a number that makes contents differ
    key: str = ""
    patience_s: float = 20.0
    again: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Two requests to one router: for the model's config, knowing the newest revision any client was told; and for
    inference."""

    at: float
    router: int
    model: str
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A watcher comes, and comes back wherever it is cut off."""

    at: float
    router: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A process ends, `steps` steps of whatever runs after `at`, and is begun again `back_s` later."""

    at: float
    who: Literal["router", "worker"]
    number: int
    steps: int
    back_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A process cannot reach, or be reached by, one of its neighbours."""

    at: float
    who: Literal["router", "worker"]
    number: int
    off: Literal["bus", "store", "status"]
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """A service is gone: the broker, or the store."""

    at: float
    what: Literal["broker", "store"]
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """The weather of an edge, for a while."""

    at: float
    weather: BusWeather | StoreWeather
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wipe:
    """A store is gone and begun anew, empty. An operator's doing: what it held is lost, and nobody may pretend else."""

    at: float
    number: int


Action: TypeAlias = Post | Ask | Watch | Crash | Cut | Down | Storm | Wipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`seed`: of every chance that the edges take while it runs."""

    seed: str
    cluster: Cluster
    actions: Sequence[Action]


# How often a post comes within milliseconds of another: most of what can be lost is lost in a race.
_RACING = 0.4


def draw(seed: int) -> Schedule:
    """The schedule of a seed; the same for ever, as long as this function stays as it is."""
    chance = random.Random(seed)
    cluster = _cluster(chance)
    actions: list[Action] = []
    for _ in range(chance.randint(2, 6)):
        post = _post(chance, cluster)
        if actions and chance.random() < _RACING:
            post = replace(post, at=actions[-1].at + chance.choice((0.0, 0.002, 0.006)) * chance.random())
        actions.append(post)
    for said in list(actions):
        assert isinstance(said, Post)
        if chance.random() < 0.4:
            profile = chance.choice(said.profiles)[0]
            at = said.at + chance.choice((0.004, 0.008, 0.02, 0.1, 1.0, 3.0))
            actions.append(Ask(at=at, router=chance.randrange(cluster.routers), model=said.model, profile=profile))
        if chance.random() < 0.15:  # said again, as by somebody who has forgotten that it was
            again = replace(said, at=said.at + 3 * chance.random(), router=chance.randrange(cluster.routers))
            if cluster.stores == "shared" or again.router == said.router:
                actions.append(again)
    if chance.random() < 0.35:
        actions.append(Watch(at=_when(chance), router=chance.randrange(cluster.routers)))
    posts = [one for one in actions if isinstance(one, Post)]
    actions += [_fault(chance, cluster, posts) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
    for crash in [one for one in actions if isinstance(one, Crash) and one.who == "router"]:
        if chance.random() < 0.5:  # of what it knew before, while it comes back
            at, model = crash.at + crash.back_s + 3 * chance.random(), chance.choice(posts).model
            actions.append(Ask(at=at, router=crash.number, model=model, profile="default"))
    if chance.random() < (0.4 if cluster.stores == "memory" else 0.02):
        actions += _last_word(chance, cluster)
    if cluster.stores != "memory" and chance.random() < 0.03:
        number = 0 if cluster.stores == "shared" else chance.randrange(cluster.routers)
        actions.append(Wipe(at=_when(chance), number=number))
    return Schedule(seed=str(seed), cluster=cluster, actions=sorted(actions, key=lambda one: one.at))


def _cluster(chance: random.Random) -> Cluster:
    stores: Stores = chance.choices(("shared", "own", "memory"), (6, 2, 2))[0]
    routers = chance.choices((1, 2, 3), (3, 5, 2))[0]
    bus = chance.random() < 0.95 or stores != "shared"
    bundles = [chance.choices(("default", "sglang"), (3, 1))[0] for _ in range(chance.choice((0, 1, 2, 2, 3)))]
    return Cluster(
        routers=routers,
        bundles=tuple(bundles),
        stores=stores,
        restore=chance.random() < 0.7,
        shared_readers=stores == "shared" and (not bus or chance.random() < 0.4),
        bus=bus,
        bus_key=bus and chance.random() < 0.3,
        snapshot_every=chance.choice((1, 2, 3, 250)),
    )


def _when(chance: random.Random) -> float:
    """Often close together, in the first moments; else at any time."""
    return (
        chance.choice((0.2, 0.5, 1.0, 3.0)) * chance.random() + 0.3
        if chance.random() < 0.5
        else ((FAULTS_S - 2) * chance.random())
    )


def _post(chance: random.Random, cluster: Cluster) -> Post:
    router = chance.randrange(cluster.routers)
    # Routers without a shared store are joined by the bus alone; two that are asked for one model make two.
    model = f"org/m{chance.randrange(3)}" if cluster.stores == "shared" else f"org/r{router}-m{chance.randrange(2)}"
    if cluster.stores == "shared" and chance.random() < 0.1:
        return _append(chance, cluster, router)
    profiles: list[tuple[str, str, int]] = []
    if chance.random() < 0.8:
        profiles.append(("default", DENSE, _number(chance)))
    for name in ("p1", "p2", "p3"):
        if chance.random() < 0.35 or not profiles:
            how = chance.choice((DENSE, SGLANG, "extends:default", "extends:default"))
            profiles.append((name, how, _number(chance)))
    return Post(
        at=_when(chance),
        router=router,
        model=model,
        profiles=tuple(profiles),
        key=f"key-{chance.randrange(3)}" if chance.random() < 0.25 else "",
        patience_s=chance.choice((0.005, 0.05, 20.0, 20.0, 20.0)),
        again=chance.choice((0, 0, 1, 3)),
    )


def _last_word(chance: random.Random, cluster: Cluster) -> Sequence[Action]:
    """What a router accepts is heard by some and not by others, and then it is gone."""
    post = _post(chance, cluster)
    deaf = BusWeather(drop=chance.choice((0.3, 0.6)), double=chance.choice((0.0, 0.6)))
    return (
        Storm(at=max(0.0, post.at - 0.005), weather=deaf, for_s=0.5 * chance.random()),
        post,
        Crash(
            at=post.at + 0.02 * chance.random(),
            who="router",
            number=post.router,
            steps=chance.choice((0, chance.randrange(30))),
            back_s=chance.choice((0.05, 0.5)) * chance.uniform(0.5, 1.5),
        ),
    )


def _append(chance: random.Random, cluster: Cluster, router: int) -> Post:
    """Profiles for a model that every process has a file of."""
    profiles = (("p1", "extends:default", _number(chance)), ("p2", "extends:default", _number(chance)))
    some = profiles[: chance.randint(1, 2)]
    return Post(at=_when(chance), router=router, model=SHIPPED, profiles=some, again=chance.choice((0, 1)))


def _number(chance: random.Random) -> int:
    """Mostly the same, so that posts repeat each other; sometimes another, so that they conflict."""
    return int(chance.random() < 0.15)


def _fault(chance: random.Random, cluster: Cluster, posts: Sequence[Post]) -> Action:
    """Often while a post is on its way, and then to the router that it went to."""
    post = chance.choice(posts) if chance.random() < 0.5 else None
    near = max(0.0, post.at + chance.choice((-0.02, 0.006, 0.02)) * chance.random()) if post is not None else 0.0
    at = near if post is not None else _when(chance)
    for_s = chance.choice((0.05, 0.5, 1.5, 4.0)) * chance.uniform(0.5, 1.5)
    who: Literal["router", "worker"] = "router" if not cluster.bundles or chance.random() < 0.5 else "worker"
    number = chance.randrange(cluster.routers if who == "router" else len(cluster.bundles))
    if who == "router" and post is not None:
        number = post.router
    kind = chance.choices(("crash", "cut", "down", "bus", "store"), (4, 3, 2, 3, 4))[0]
    if kind == "crash":
        return Crash(at=at, who=who, number=number, steps=chance.choice((0, chance.randrange(200))), back_s=for_s)
    if kind == "cut":
        off: Literal["bus", "store", "status"] = chance.choice(("bus", "bus", "store", "status"))
        return Cut(at=at, who=who, number=number, off=off, for_s=for_s)
    if kind == "down":
        return Down(at=at, what=chance.choice(("broker", "store")), for_s=for_s)
    if kind == "bus":
        slow_s, often = chance.choice((0.003, 0.1, 0.5)), (0.0, 0.0, 0.2, 0.6)
        drop, double, reorder = (chance.choice(often) for _ in range(3))
        return Storm(at=at, for_s=for_s, weather=BusWeather(slow_s=slow_s, drop=drop, double=double, reorder=reorder))
    if chance.random() < 0.3:  # silence from one end to the other, longer than anybody tries
        silence = {chance.choice(("lost", "unheard", "late")): 1.0}
        return Storm(at=at, for_s=chance.uniform(3, 7), weather=StoreWeather(**silence))
    refused, lost, unheard, late = (chance.choice((0.0, 0.0, 0.1, 0.3)) for _ in range(4))
    slow_s = chance.choice((0.004, 0.05, 1.0))
    return Storm(
        at=at,
        for_s=for_s,
        weather=StoreWeather(slow_s=slow_s, refused=refused, lost=lost, unheard=unheard, late=late),
    )
