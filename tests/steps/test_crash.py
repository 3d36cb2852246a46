"""A router dies at each step of the commit path, and another starts on what it left.

What was answered is there; nothing is half there; what was not answered is there wholly or not at all; the same request
again is 200 or 201 and has one entry; workers come to have it all. Threads take no steps: a crash comes before or after
what they do, and `test_disk.py` has it in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from sie.store.contract import Store
from sie.store.legacy import LegacyStore
from sie.store.local import open_local
from sie.store.memory import MemoryStore
from sie.store.objects import open_objects
from sie.testing.steps import Life, Ordeal, crash_at_every_step
from sie.testing.store import Fault, FaultyStore, LandLate, Silence
from tests.pages import FIRST, FULL, MINIMAL
from tests.steps.buckets import MemoryBucket
from tests.steps.cluster import SETTINGS, Cluster, Opening, Post, world

ONE = (Post(FIRST, key="k"),)
SAME_MODEL = (
    Post(MINIMAL + b"  a:\n    extends: default\n", "a"),
    Post(MINIMAL + b"  b:\n    extends: default\n", "b"),
)
SCENES = {
    "one": ONE,
    "two to one model": SAME_MODEL,
    "the same twice": (*ONE, Post(FIRST, key="l"), Post(FIRST)),
}
LAST = "the same twice"  # over threads, for the slow run only
SILENCES: Sequence[Fault] = (
    Silence(landed=True),
    Silence(landed=False),
    *(LandLate(after) for after in (0, 1, 2, 4, 8)),
)
LEGACY = (MINIMAL.replace(b"intfloat", b"old"), FULL.replace(b"intfloat", b"older"))


class Durable(MemoryStore):
    """As if it outlived the process."""

    durable = True

    def __init__(self, legacy: Sequence[bytes]) -> None:
        super().__init__(now=lambda: 0.0)
        self._legacy = legacy

    async def load_legacy(self) -> LegacyStore | None:
        await trio.lowlevel.checkpoint()
        documents = tuple((f"org/{place}", one) for place, one in enumerate(self._legacy))
        return LegacyStore(epoch=7, documents=documents) if documents else None


def in_memory(folder: Path, legacy: Sequence[bytes]) -> Opening:
    store = Durable(legacy)

    async def opening(life: Life) -> Store:
        await trio.lowlevel.checkpoint()
        return life.edge(store)

    return opening


def in_directory(folder: Path, legacy: Sequence[bytes]) -> Opening:
    for place, one in enumerate(legacy):
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / f"org__{place}.yaml").write_bytes(one)

    async def opening(life: Life) -> Store:
        return life.edge(await open_local(folder, SETTINGS))

    return opening


def in_bucket(folder: Path, legacy: Sequence[bytes]) -> Opening:
    bucket = MemoryBucket()
    bucket.objects.update({f"models/org__{place}.yaml": one for place, one in enumerate(legacy)})

    async def opening(life: Life) -> Store:
        return await open_objects(lambda: life.edge(bucket), bucket.place, SETTINGS)

    return opening


STORES = {"memory": in_memory, "directory": in_directory, "bucket": in_bucket}


def faulty(*faults: Fault) -> Callable[[Path, Sequence[bytes]], Opening]:
    """In memory, over a network that does this to the first writes, in whichever life; what is under way lands."""

    def place(folder: Path, legacy: Sequence[bytes]) -> Opening:
        store = FaultyStore(Durable(legacy), appends=faults)

        async def opening(life: Life) -> Store:
            await trio.lowlevel.checkpoint()
            return life.edge(store)

        return opening

    return place


def crash_everywhere(
    place: Callable[[Path, Sequence[bytes]], Opening],
    seed: int,
    folder: Path,
    posts: Sequence[Post],
    *,
    legacy: Sequence[bytes] = (),
    snapshots: bool = False,
) -> int:
    """How many steps there were to crash at."""
    folders = (folder / str(number) for number in itertools.count())

    def fresh() -> AbstractAsyncContextManager[Ordeal]:
        return world(Cluster(place(next(folders), legacy), posts, legacy=legacy, snapshots=snapshots))

    # Where threads are waited for, time must not jump; it runs faster, for nothing real depends on it.
    clock = MockClock(rate=20) if place in (in_directory, in_bucket) else MockClock(autojump_threshold=0)
    return trio.run(partial(crash_at_every_step, fresh, seed=seed), clock=clock)


@pytest.mark.parametrize(
    ("store", "posts"),
    [
        pytest.param(store, posts, marks=[pytest.mark.slow] if posts == LAST and store != "memory" else [])
        for store, posts in itertools.product(STORES, SCENES)
    ],
)
def test_a_post_and_several_at_once(store: str, posts: str, tmp_path: Path, seed: int) -> None:
    assert crash_everywhere(STORES[store], seed, tmp_path, SCENES[posts]) > 10


@pytest.mark.parametrize("store", STORES)
def test_taking_over_a_store_of_the_old_release(store: str, tmp_path: Path, seed: int) -> None:
    assert crash_everywhere(STORES[store], seed, tmp_path, ONE, legacy=LEGACY) > 10


@pytest.mark.parametrize("store", STORES)
def test_saving_a_snapshot(store: str, tmp_path: Path, seed: int) -> None:
    assert crash_everywhere(STORES[store], seed, tmp_path, ONE, snapshots=True) > 10


@pytest.mark.parametrize("fault", SILENCES, ids=str)
@pytest.mark.parametrize("posts", ["one", "two to one model"])
def test_a_write_whose_outcome_is_not_known(fault: Fault, posts: str, tmp_path: Path, seed: int) -> None:
    assert crash_everywhere(faulty(fault), seed, tmp_path, SCENES[posts]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("posts", SCENES)
def test_in_many_orders(posts: str, tmp_path: Path, seed: int) -> None:
    for more in range(8):
        crash_everywhere(in_memory, seed + more, tmp_path, SCENES[posts])
        crash_everywhere(in_memory, seed + more, tmp_path, SCENES[posts], legacy=LEGACY, snapshots=True)
        for fault in SILENCES:
            crash_everywhere(faulty(fault), seed + more, tmp_path, SCENES[posts])
