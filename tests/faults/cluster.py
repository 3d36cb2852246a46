"""A cluster of real processes in which anything can be made to fail: NATS, the store, each router and each worker.

`client.py` has who posts to it and keeps every answer, `verdict.py` who compares the answers with the truth afterwards.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx
import trio

from sie.catalog.entry import Entry, read_entry
from sie.store.check import export_store
from sie.testing.proxy import Fault, Proxy, Rule, open_proxy
from tests.bucket_servers import BUCKET, KEY, KEY_ID, gcs_server, s3_server
from tests.bus.natsserver import NatsServer
from tests.ports import free_port
from tests.processes import Served, sie_process
from tests.test_cluster import MODELS, document, until
from tests.test_convergence import BUNDLES

StoreKind = Literal["local", "s3", "gcs"]
T = TypeVar("T")

_FOLDER = "configs"  # of the store in its bucket


class Part:
    """One router or worker at an address of its own: ended and started again there, as it was or with other flags."""

    def __init__(self, command: str, flags: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command = command
        self.flags = list(flags)
        self.environment = dict(environment)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.running: Served | None = None
        self._outputs: list[list[str]] = []
        self._held = ExitStack()

    def start(self) -> None:
        """Returns when it serves."""
        assert self.running is None, "it runs already"
        flags = ("--port", str(self.port), *self.flags)
        self.running = self._held.enter_context(sie_process(self.command, *flags, environment=self.environment))
        self._outputs.append(self.running.output)

    def kill(self) -> None:
        """As a power cut would. Nothing to a part that does not run."""
        if self.running is not None:
            self.running.kill()
            self._end()

    def stop(self) -> int:
        """As an operator would. Returns the exit status."""
        assert self.running is not None
        status = self.running.stop()
        self._end()
        return status

    def pause(self) -> None:
        """Returns when it has stopped: the kernel goes on accepting connections for it, and nobody answers."""
        pid = self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def output(self) -> str:
        """What it has printed, over all its lives."""
        return "".join(line for lines in self._outputs for line in lines)

    @property
    def resident_bytes(self) -> int:
        """The memory it occupies now."""
        assert self.running is not None
        pages = int(Path(f"/proc/{self.running.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _signal(self, number: signal.Signals) -> int:
        assert self.running is not None
        self.running.process.send_signal(number)
        return self.running.process.pid

    def _end(self) -> None:
        self.running = None
        self._held.close()


class ProxyThread:
    """A proxy of sie.testing.proxy, in a thread of its own, for tests that block."""

    def __init__(self, upstream: tuple[str, int], faults: Sequence[Fault | None] | None) -> None:
        self._upstream = upstream
        self._faults = faults
        self._up = threading.Event()
        self._done: trio.Event
        self._token: trio.lowlevel.TrioToken
        self._proxy: Proxy
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)

    @property
    def port(self) -> int:
        return self._proxy.port

    def do(self, act: Callable[[Proxy], T]) -> T:
        """In the proxy's own event loop: `proxy.do(lambda one: one.cut())`."""
        return trio.from_thread.run_sync(act, self._proxy, trio_token=self._token)

    def plan(self, *faults: Fault | None) -> None:
        self.do(lambda one: one.plan(*faults))

    def land_late(self) -> list[int]:
        return trio.from_thread.run(self._proxy.land_late, trio_token=self._token)

    def rule(self, rule: Rule | None) -> None:
        """What requests meet from now on, once the plan is used up. Called in the proxy's thread."""
        self.do(lambda one: setattr(one, "rule", rule))

    @property
    def held(self) -> int:
        return self._proxy.held

    def release(self) -> None:
        self.do(lambda one: one.release())

    def shut(self) -> None:
        trio.from_thread.run(self._proxy.shut, trio_token=self._token)

    def listen(self) -> None:
        trio.from_thread.run(self._proxy.listen, trio_token=self._token)

    def __enter__(self) -> ProxyThread:
        self._thread.start()
        assert self._up.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._done.set, trio_token=self._token)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._token, self._done = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_proxy(self._upstream, faults=self._faults) as self._proxy:
            self._up.set()
            await self._done.wait()


class Cluster:
    """What `open_cluster` gives. `environment`: what all parts begin with; a part's own can be changed before a start.

    `proxy` stands between all parts and a shared store, where that was asked for, with an empty plan of faults.
    """

    def __init__(self, folder: Path, kind: StoreKind, nats: NatsServer, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.kind: StoreKind = kind
        self.nats = nats
        self.environment = dict(environment)
        self.routers: list[Part] = []
        self.workers: list[Part] = []
        self.proxy: ProxyThread | None = None
        self._known: dict[tuple[str, str], bytes] = {}
        self.bucket_port = 0  # of the store itself, behind the proxy

    def worker(self, bundle: str = "default", *, environment: Mapping[str, str] | None = None) -> Part:
        """One more, not started. Routers made later dial it."""
        made = Part("worker", ("--bundle", bundle), {**self.environment, **(environment or {})})
        self.workers.append(made)
        return made

    def router(self, *, dialled: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Part:
        """One more, not started. `dialled`: the URLs of its workers; None is all there are."""
        urls = dialled if dialled is not None else [one.address for one in self.workers]
        flags = [flag for url in urls for flag in ("--worker", url)]
        made = Part("router", flags, {**self.environment, **(environment or {})})
        self.routers.append(made)
        return made

    def start(self) -> None:
        """Start all parts that do not run, at once; return when all serve."""
        missing = [one for one in (*self.workers, *self.routers) if one.running is None]
        with ThreadPoolExecutor(max(1, len(missing))) as pool:
            list(pool.map(Part.start, missing))

    def wait_whole(self, within_s: float = 30) -> None:
        """Until every router hears every worker that runs, and takes changes."""
        running = {one.address for one in self.workers if one.running is not None}
        for router in self.routers:
            wanted = running & set(router.flags)
            until(partial(_hears, router, wanted), True, within_s)
            until(partial(_takes_changes, router), True, within_s)

    def entries(self) -> Sequence[Entry]:
        """All that the store holds, read with none of the parts' help."""
        return [read_entry(one, name="an entry of the store") for one in self._contents()]

    def wipe(self) -> None:
        """Take away all that lies in the store, while it is in use."""
        match self.kind:
            case "local":
                shutil.rmtree(self.folder / "store")
            case "s3":
                client = _s3_client(self.bucket_port)
                for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{_FOLDER}/"):
                    for one in page.get("Contents", ()):
                        client.delete_object(Bucket=BUCKET, Key=one["Key"])
            case "gcs":
                raise AssertionError("no test wipes one yet")

    def _contents(self) -> Iterator[bytes]:
        match self.kind:
            case "local":
                for line in export_store(self.folder / "store"):
                    yield line.encode()
            case "s3":
                yield from _s3_contents(self.bucket_port, self._known)
            case "gcs":
                yield from _gcs_contents(self.bucket_port)


@contextmanager
def open_cluster(
    folder: Path,
    *,
    store: StoreKind = "local",
    routers: int = 2,
    workers: Sequence[str] = ("default", "default"),
    proxied: bool = False,
    nats_options: str = "",
    environment: Mapping[str, str] | None = None,
    started: bool = True,
) -> Iterator[Cluster]:
    """Routers that dial all workers, on one NATS server and one store; `workers`: the bundle of each.

    The bundles are `default`, or, if another is named, `one` and `two` of tests.test_convergence. `proxied`: a shared
    store is reached through `cluster.proxy`. `started`: whole, as `wait_whole` has it; else only NATS and the store
    run. At the end everything is killed.
    """
    with ExitStack() as stack:
        nats = stack.enter_context(NatsServer(nats_options))
        cluster = Cluster(folder, store, nats, {"SIE_NATS_URL": nats.url, "SIE_CONFIG_RESTORE": "true"})
        if set(workers) - {"default"}:
            (folder / "bundles").mkdir(exist_ok=True)
            for name, text in BUNDLES.items():
                (folder / "bundles" / name).write_text(text)
            cluster.environment["SIE_BUNDLES_DIR"] = str(folder / "bundles")
        _open_store(cluster, stack, proxied=proxied)
        cluster.environment.update(environment or {})
        for bundle in workers:
            cluster.worker(bundle)
        for _ in range(routers):
            cluster.router()
        try:
            if started:
                cluster.start()
                cluster.wait_whole()
            yield cluster
        finally:
            for part in (*cluster.routers, *cluster.workers):
                part.kill()


def add(router: Part, sie_id: str, *profiles: str) -> httpx.Response:
    return httpx.post(router.address + MODELS, content=document(sie_id, *profiles), timeout=60)


def healthy(router: Part) -> Sequence[Mapping[str, Any]]:
    """The workers that this router counts on, as its `/health` tells of them."""
    return [one for one in httpx.get(f"{router.address}/health", timeout=10).json()["workers"] if one["healthy"]]


def _hears(router: Part, workers: Set[str]) -> bool:
    return workers <= {one["url"] for one in healthy(router)}


def _takes_changes(router: Part) -> bool:
    return add(router, "first/model").status_code in {200, 201}


def metric(part: Part, name: str, **labels: str) -> float:
    """The sum over what `/metrics` says under this name and these labels, 0 if nothing."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [one for one in httpx.get(f"{part.address}/metrics", timeout=10).text.splitlines() if one.startswith(name)]
    return sum(float(one.rsplit(" ", 1)[1]) for one in lines if all(want in one for want in wanted))


def _open_store(cluster: Cluster, stack: ExitStack, *, proxied: bool) -> None:
    match cluster.kind:
        case "local":
            assert not proxied, "a directory has no network before it"
            cluster.environment["SIE_CONFIG_STORE_DIR"] = str(cluster.folder / "store")
            return
        case "s3":
            port = cluster.bucket_port = stack.enter_context(s3_server(cluster.folder))
        case "gcs":
            port = cluster.bucket_port = stack.enter_context(gcs_server(cluster.folder))
    if proxied:
        cluster.proxy = stack.enter_context(ProxyThread(("127.0.0.1", port), ()))
        port = cluster.proxy.port
    scheme = "gs" if cluster.kind == "gcs" else "s3"
    cluster.environment |= {
        "SIE_CONFIG_STORE_DIR": f"{scheme}://{BUCKET}/{_FOLDER}",
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": "us-east-1",
    }


def _s3_contents(port: int, known: dict[tuple[str, str], bytes]) -> Iterator[bytes]:
    """`known`: content by name and tag, read once, or a long log would take longer to read than to write."""
    client = _s3_client(port)
    listed: list[tuple[str, str]] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{_FOLDER}/log/"):
        listed += [(one["Key"], one["ETag"]) for one in page.get("Contents", ())]
    for name, tag in listed:
        if (name, tag) not in known:
            known[name, tag] = client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        yield known[name, tag]


@functools.cache
def _s3_client(port: int) -> Any:
    """Its connections are let go of with the process: making one takes longer than all that it is asked."""
    import boto3

    url = f"http://127.0.0.1:{port}"
    return boto3.session.Session().client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY_ID, aws_secret_access_key=KEY
    )


def _gcs_contents(port: int) -> Iterator[bytes]:
    base = f"http://127.0.0.1:{port}/storage/v1/b/{BUCKET}/o"
    with urllib.request.urlopen(f"{base}?prefix={_FOLDER}/log/") as answer:
        names = [one["name"] for one in json.load(answer).get("items", ())]
    for name in names:
        with urllib.request.urlopen(f"{base}/{quote(name, safe='')}?alt=media") as answer:
            yield answer.read()
