"""Everything fails, in an order chosen by chance, while clients post: what was accepted is everywhere, once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from sie.testing.proxy import Answer, CutAfter, CutBefore, Fault, Hold, LandLate
from spec.history import Watched
from tests.faults import storage
from tests.faults.client import Client, in_threads
from tests.faults.cluster import Cluster, Part, open_cluster
from tests.faults.verdict import DOCUMENTED, judge
from tests.faults.watcher import watched

# The most seconds that a fault lasts.
_LONG_S, _SHORT_S = 5.0, 0.5


class Weather:
    """Faults of a cluster, one after the other; each has ended when its call returns."""

    def __init__(self, cluster: Cluster, seed: int, most_s: float) -> None:
        self._cluster = cluster
        self._chance = random.Random(seed)
        self._most_s = most_s
        of_workers = (self._worker_killed, self._worker_stopped, self._worker_replaced)
        # Those of one group never happen at once: they would undo each other.
        self.groups: Sequence[Sequence[Callable[[], None]]] = (
            (self._store_slow, self._store_down, self._store_locked, self._writes_misreported, self._writes_held),
            (self._nats_killed, self._nats_flapping, self._nats_silent),
            (self._router_killed, self._router_stopped, *of_workers),
        )

    def pass_over(self, group: int, most: int, until: float) -> None:
        """Faults of a group, each once and so many at most, chosen by chance; over again until this moment is over."""
        faults = self.groups[group]
        while True:
            for fault in self._chance.sample(faults, min(most, len(faults))):
                print(f"{time.monotonic() % 1000:7.2f} {fault.__name__.replace('_', ' ').strip()}")
                fault()
                time.sleep(self._chance.uniform(0, self._most_s / 3))
            if time.monotonic() > until:
                return

    def _last(self) -> None:
        time.sleep(self._chance.uniform(0.1, self._most_s))

    def _store_slow(self) -> None:
        seconds = self._chance.uniform(0.1, self._most_s)
        with storage.slow(self._cluster, seconds):
            time.sleep(seconds)

    def _store_down(self) -> None:
        with storage.down(self._cluster):
            self._last()

    def _store_locked(self) -> None:
        with storage.everything(self._cluster, storage.WRONG_CREDENTIALS):
            self._last()

    def _writes_misreported(self) -> None:
        faults: list[Fault] = [
            *(Answer(500, after_success=True), Answer(409, after_success=True), Answer(412, after_success=True)),
            *(Answer(503), CutAfter(), CutBefore(), LandLate()),
        ]
        for fault in self._chance.sample(faults, len(faults)):
            with storage.entries(self._cluster, fault, times=3):
                time.sleep(self._most_s / 5)
            storage.before(self._cluster).land_late()

    def _writes_held(self) -> None:
        with storage.entries(self._cluster, Hold(), times=self._chance.randrange(1, 5)):
            self._last()
        storage.calm(self._cluster)

    def _nats_killed(self) -> None:
        self._cluster.nats.kill()
        self._last()
        self._cluster.nats.start()

    def _nats_flapping(self) -> None:
        for _ in range(int(self._most_s / 0.4)):
            self._cluster.nats.kill()
            time.sleep(0.2)
            self._cluster.nats.start()
            time.sleep(0.2)

    def _nats_silent(self) -> None:
        self._cluster.nats.pause()
        self._last()
        self._cluster.nats.resume()

    def _router_killed(self) -> None:
        self._killed(self._chance.choice(self._cluster.routers))

    def _worker_killed(self) -> None:
        self._killed(self._chance.choice(self._cluster.workers))

    def _killed(self, part: Part) -> None:
        part.kill()
        time.sleep(self._chance.uniform(0, self._most_s / 5))
        part.start()

    def _router_stopped(self) -> None:
        self._stopped(self._chance.choice(self._cluster.routers))

    def _worker_stopped(self) -> None:
        self._stopped(self._chance.choice(self._cluster.workers))

    def _stopped(self, part: Part) -> None:
        part.pause()
        self._last()
        part.resume()

    def _worker_replaced(self) -> None:
        """By one of the other bundle, and again by one of its own."""
        worker = self._chance.choice(self._cluster.workers)
        at = worker.flags.index("--bundle") + 1
        was = worker.flags[at]
        for bundle in ({"one": "two", "two": "one"}[was], was):
            worker.kill()
            worker.flags[at] = bundle
            worker.start()
            self._last()


def storm(cluster: Cluster, chance: random.Random, most_s: float, *, most: int = 5, lasting_s: float = 0) -> None:
    """The three groups of faults at the same time, each in a thread of its own, `most` of each in a round."""
    until = time.monotonic() + lasting_s
    weathers = [Weather(cluster, chance.randrange(10**6), most_s) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        passing = [pool.submit(one.pass_over, group, most, until) for group, one in enumerate(weathers)]
    for one in passing:
        one.result()


@contextmanager
def posting(client: Client, *, clients: int, posts: int, every_s: float) -> Iterator[None]:
    """Post from so many threads while the block runs, and until there were so many. One in five is a retry."""

    def post_on(over: threading.Event) -> None:
        while not over.is_set() or len(client.answers) < posts:
            before = client.answers[-100:]
            number = client.chance.choice(before).number if before and client.chance.random() < 0.2 else None
            answer = client.post(number=number)
            assert answer.status in DOCUMENTED, answer
            if answer.accepted and client.chance.random() < 0.2:
                client.read_back(answer)
            time.sleep(client.chance.uniform(0, 2 * every_s))

    with in_threads(post_on, clients):
        yield


def report(client: Client) -> None:
    said = Counter((one.status, one.code.partition("(")[0], one.unknown) for one in client.answers)
    print(f"{len(client.answers)} posts: {dict(said)}")
    seen = Counter(one.kind for one in client.history)
    print(f"seen: {dict(seen)}")
    assert any(isinstance(one, Watched) and one.model for one in client.history), "watchers were told of nothing"


def test_a_minute_of_weather_in_seconds(cluster: Cluster) -> None:
    client = Client(cluster, name="weather")
    with watched(cluster, client), posting(client, clients=4, posts=50, every_s=0.15):
        storm(cluster, random.Random(client.seed), _SHORT_S, most=2)
    report(client)
    judge(cluster, client)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_posts_while_everything_fails(tmp_path: Path) -> None:
    with open_cluster(tmp_path, store="s3", workers=("one", "one", "two", "two"), proxied=True) as cluster:
        client = Client(cluster, name="chaos")
        with watched(cluster, client), posting(client, clients=8, posts=1000, every_s=0.3):
            storm(cluster, random.Random(client.seed), _LONG_S, lasting_s=60)
        report(client)
        assert any(one.accepted for one in client.answers)
        judge(cluster, client)
