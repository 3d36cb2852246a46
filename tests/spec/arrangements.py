"""The real thing in each of its arrangements, as the suite is pointed at it. Between them no case is skipped.

`python -m tests.spec.arrangements` judges all of them and writes the table of results in spec/README.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from spec import table
from spec.case import read_cases
from spec.report import Line, read_report
from tests.faults.cluster import Part, StoreKind, open_cluster
from tests.spec.servers import http_server
from tests.test_cluster import until

TOKENS = {"SIE_ADMIN_TOKEN": "a token of the admin", "SIE_AUTH_TOKEN": "a token of readers"}
WITH_TOKENS = ("--admin-token", TOKENS["SIE_ADMIN_TOKEN"], "--auth-token", TOKENS["SIE_AUTH_TOKEN"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """`start`: in an empty folder; gives the arguments of the suite. `lacks`: needs that it does not meet."""

    start: Callable[[Path], AbstractContextManager[Sequence[str]]]
    lacks: Set[str]

    def skipped(self) -> Set[str]:
        """The cases that are not for it."""
        return {one.name for one in read_cases() if self.lacks & set(one.needs)}

    def judge(self, folder: Path) -> Sequence[Line]:
        """What became of each case, `folder/report.json`. Raises AssertionError with all that is wrong."""
        report = folder / "report.json"
        with self.start(folder) as argv:
            # A shared store takes its time, and a machine that does other things as well.
            command = [sys.executable, "-m", "spec", *argv, "--report", str(report), "--within", "120"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not any(token in done.stdout + report.read_text() for token in TOKENS.values())
        return read_report(report.read_text()).lines


@contextmanager
def running(command: str, environment: Mapping[str, str]) -> Iterator[Part]:
    part = Part(command, (), environment)
    part.start()
    try:
        yield part
    finally:
        part.kill()


@contextmanager
def restarting(part: Part) -> Iterator[str]:
    """A shell command that kills this part, as a power cut would, and returns when it serves again."""

    def answer(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        part.kill()
        part.start()
        return 200, b"{}"

    with http_server(answer) as url:
        yield f"{sys.executable} -c 'import urllib.request; urllib.request.urlopen(\"{url}\", timeout=50).close()'"


@contextmanager
def _one_process(_: Path) -> Iterator[Sequence[str]]:
    with running("serve", {}) as part:
        yield [part.address]


@contextmanager
def _one_process_with_a_store(folder: Path) -> Iterator[Sequence[str]]:
    store = {"SIE_CONFIG_STORE_DIR": str(folder / "store"), "SIE_CONFIG_RESTORE": "true"}
    with running("serve", {**store, **TOKENS}) as part, restarting(part) as command:
        yield [part.address, *WITH_TOKENS, "--restart", command]


@contextmanager
def _router_alone(_: Path) -> Iterator[Sequence[str]]:
    with running("router", {}) as part:
        yield [part.address]


@contextmanager
def _cluster(store: StoreKind, folder: Path) -> Iterator[Sequence[str]]:
    """Two routers and two workers on NATS: all that can be had at once."""
    with open_cluster(folder, store=store, environment=TOKENS, started=False) as cluster:
        cluster.start()
        first, second = cluster.routers
        for router in cluster.routers:
            until(partial(_hears, router), len(cluster.workers))
        with restarting(first) as command:
            also = ["--router2", second.address, "--nats", cluster.nats.url, "--worker", cluster.workers[0].address]
            yield [first.address, *WITH_TOKENS, *also, "--restart", command]


def _hears(router: Part) -> int:
    headers = {"Authorization": f"Bearer {TOKENS['SIE_ADMIN_TOKEN']}"}
    workers = httpx.get(f"{router.address}/health", headers=headers, timeout=10).json()["workers"]
    return sum(one["healthy"] for one in workers)


_PART_OF_A_CLUSTER = frozenset({"two-routers", "nats", "worker"})
_RESTARTED = frozenset({"restart", "durable"})
_TOKENS = frozenset({"tokens", "reader-token"})

ARRANGEMENTS: Mapping[str, Arrangement] = {
    "one process": Arrangement(
        start=_one_process,
        lacks=_PART_OF_A_CLUSTER | _RESTARTED | _TOKENS | {"no-workers"},
    ),
    "one process with tokens and a store": Arrangement(
        start=_one_process_with_a_store,
        lacks=_PART_OF_A_CLUSTER | {"open", "no-workers"},
    ),
    "a router alone": Arrangement(start=_router_alone, lacks=_PART_OF_A_CLUSTER | _RESTARTED | _TOKENS | {"workers"}),
    **{
        f"a cluster on {store}": Arrangement(start=partial(_cluster, store), lacks={"open", "no-workers"})
        for store in ("local", "s3", "gcs")
    },
}


def main() -> int:
    reports: list[str] = []
    with tempfile.TemporaryDirectory() as root:
        for name, arrangement in ARRANGEMENTS.items():
            folder = Path(root) / name.replace(" ", "-")
            folder.mkdir()
            print(f"{name}: {len(arrangement.judge(folder))} cases", flush=True)
            reports.append(str(folder / "report.json"))
        return table.main(reports)


if __name__ == "__main__":
    sys.exit(main())
