"""A cluster as it would run: NATS, a router and workers, each a process of its own on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.poster import Poster
from tests.bucket_servers import BUCKET, KEY, KEY_ID, s3_server
from tests.bus.natsserver import NatsServer
from tests.processes import Served, sie_process

_START_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`nats_url`: of its NATS server; `environment`: of each of its processes, the store's variables among them."""

    nats_url: str
    environment: Mapping[str, str]
    router: Served
    workers: Sequence[Served]


@contextmanager
def store_at(kind: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """The variables of a new store: `local`, in the folder, or `s3`, an emulator of it on this machine."""
    restore = {"SIE_CONFIG_RESTORE": "true"}
    if kind == "local":
        yield {**restore, "SIE_CONFIG_STORE_DIR": str(folder / "store")}
        return
    with s3_server(folder) as port:
        yield {
            **restore,
            "SIE_CONFIG_STORE_DIR": f"s3://{BUCKET}/configs",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def cluster(store: Mapping[str, str], *, workers: int) -> Iterator[Cluster]:
    """One router and so many workers, entered when each worker is ready and linked."""
    with NatsServer() as nats, ExitStack() as stack:
        environment = {"SIE_NATS_URL": nats.url, "SIE_LOG_LEVEL": "warning", **store}
        running = [stack.enter_context(sie_process("worker", environment=environment)) for _ in range(workers)]
        dialled = [flag for one in running for flag in ("--worker", one.address)]
        router = stack.enter_context(sie_process("router", *dialled, environment=environment))
        wait_ready(router, workers)
        yield Cluster(nats_url=nats.url, environment=environment, router=router, workers=running)


def wait_ready(router: Served, workers: int) -> None:
    """Until it hears so many workers say that they are ready. Raises TimeoutError."""
    deadline = time.monotonic() + _START_S
    with Poster(router.address) as client:
        while time.monotonic() < deadline:
            found = client.get("/health").body["workers"]
            if sum(bool(one["healthy"]) for one in found) == workers:
                return
            time.sleep(0.02)
    raise TimeoutError(f"{router.address} does not hear {workers} workers")
