"""A worker as a process of its own, on a real NATS server, watched over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from sie.bus.contract import Notice, Nudge
from sie.bus.nats import NatsBus
from sie.catalog.catalog import Catalog
from sie.catalog.digest import bundle_config_hash
from sie.catalog.entry import Entry
from sie.errors import ConfigurationError
from sie.files import load_catalog
from sie.settings import Settings
from sie.testing.device import FakeDevice
from sie.wire.status_message import STATUS_BYTES
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp, Part
from sie.worker.process import WorkerProcess, open_worker
from sie.worker.service import serve_process
from tests.bucket_servers import s3_server
from tests.bus.made import PATIENCE_S, answering, connected
from tests.bus.natsserver import NatsServer, Stranger
from tests.store.shared import Shared
from tests.worker.made import DENSE, MINILM

STORE = "store-1"
UNKNOWN = "sie_server.adapters.sentence_transformer:LaterAdapter"  # in the bundle, and not in this build


@pytest.fixture(scope="module")
def nats_server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


def entry(revision: int, model_id: str = "", adapter: str = DENSE, profile: str = "default") -> Entry:
    return Entry(
        model_id=model_id or f"org/m{revision}",
        profiles={profile: {"adapter_path": adapter}},
        fields={"hf_id": MINILM},
        write_id=f"w{revision}",
        time="2026-01-01T00:00:00.000+00:00",
        router_id="router-1",
        revision=revision,
    )


class Router:
    """A stand-in: a catalog, told and asked over NATS as a router's is."""

    def __init__(self, bus: NatsBus, store: str = STORE) -> None:
        self.bus = bus
        self.store = store
        self.catalog: Catalog = load_catalog(Settings())[0]
        self.asked: list[SyncRequest] = []

    async def add(self, one: Entry, *, aloud: bool = True) -> None:
        notice = Notice(store=self.store, entry=one, previous=self.catalog.previous(one))
        self.catalog.apply(one)
        if aloud:
            await self.bus.publish(notice)

    async def answer(self, request: SyncRequest) -> CaughtUp:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        since = request.known.get(self.store, -1)
        part = Part(
            store=self.store,
            revision=self.catalog.bundle_head(request.bundle),
            models=[
                one
                for one in self.catalog.logged()
                if one.revision > since and request.bundle in self.catalog.bundles_of(one)
            ],
            whole=since < 0,
        )
        return CaughtUp(parts=[part])


@asynccontextmanager
async def routing(server: NatsServer, store: str = STORE) -> AsyncIterator[Router]:
    async with connected(settings_for(server)) as bus, trio.open_nursery() as nursery:
        router = Router(bus, store)
        nursery.start_soon(answering, bus, router.answer)
        yield router
        nursery.cancel_scope.cancel(reason="the router stops")


class Site:
    """A worker's HTTP. `stopped` is set when it has returned."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.url = ""
        self.stop = trio.Event()
        self.stopped = trio.Event()

    async def serve(self, task_status: trio.TaskStatus[str]) -> None:
        await serve_process(self.process, stop=self.stop, task_status=task_status)
        self.stopped.set()

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            return await client.get(path, headers=headers)

    async def encode(self, model: str, **headers: str) -> httpx.Response:
        said = {"X-" + name.replace("_", "-"): value for name, value in headers.items()}
        asked = {"items": [{"text": "a"}]}
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            return await client.post(f"/v1/encode/{model}", json=asked, headers=said)

    @asynccontextmanager
    async def watch(self, token: str = "") -> AsyncIterator[WebSocketConnection]:
        """On a stream of our own: the library leaves its socket open when the other side closes first."""
        headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
        address = urlsplit(self.url)
        async with (
            await trio.open_tcp_stream(address.hostname or "", address.port or 0) as stream,
            trio.open_nursery() as reading,
        ):
            yield await wrap_client_stream(reading, stream, address.netloc, "/ws/status", extra_headers=headers)
            reading.cancel_scope.cancel(reason="seen enough")


def settings_for(server: NatsServer | None, **more: Any) -> Settings:
    """A heartbeat so slow that whatever arrives in a test was pushed."""
    url = server.url if server is not None else None
    return Settings(**{"port": 0, "nats_url": url, "status_heartbeat_s": 1000.0, **more})


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Site]:
    async with open_worker(settings, device=FakeDevice()) as process, trio.open_nursery() as nursery:
        site = Site(process)
        site.url = await nursery.start(site.serve)
        yield site
        nursery.cancel_scope.cancel(reason="the test has what it wanted")


async def status(socket: WebSocketConnection, **wanted: object) -> dict[str, Any]:
    """The first message that says so."""
    with trio.fail_after(PATIENCE_S):
        while True:
            content = await socket.get_message()
            assert len(content) <= STATUS_BYTES
            said: dict[str, Any] = orjson.loads(content)
            if all(said[key] == value for key, value in wanted.items()):
                return said


async def caught_up(site: Site, revision: int) -> None:
    with trio.fail_after(PATIENCE_S):
        await site.process.standing.wait_until(lambda: site.process.worker.known.complete_to == revision)


async def test_it_starts_with_everything_away_and_is_ready_when_patience_ends() -> None:
    with NatsServer() as gone:
        pass
    async with working(settings_for(gone, catchup_s=0.3)) as site, site.watch() as socket:
        assert (await status(socket))["ready"] is False
        assert (await site.get("/healthz")).text == "ok"
        refused = await site.get("/readyz")
        assert (refused.status_code, "NATS" in refused.text) == (503, True)
        assert (await status(socket, ready=True))["config_revision"] == 0
        assert (await site.get("/readyz")).text == "ok"
        missing = await site.get("/health")
        assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
        assert site.process.worker.name in (await site.get("/metrics")).text


async def test_it_catches_up_by_asking_and_hears_what_comes_after(nats_server: NatsServer) -> None:
    """No heartbeat comes within the test: each message was pushed by what it tells."""
    async with routing(nats_server) as router:
        for revision in (1, 2):
            await router.add(entry(revision), aloud=False)
        async with working(settings_for(nats_server)) as site, site.watch() as socket:
            now = await status(socket, ready=True)
            assert (now["config_store"], now["config_revision"], now["bundle"]) == (STORE, 2, "default")
            await router.add(entry(3))
            said = await status(socket, config_revision=3)
            assert said["config_digest"] == router.catalog.digest("default")
            expected = bundle_config_hash(router.catalog.in_bundle("default"))
            assert (await status(socket, bundle_config_hash=expected))["config_revision"] == 3
            assert (await site.get("/v1/models/org/m3")).json()["name"] == "org/m3"


async def test_an_empty_restart_and_a_missed_message_are_caught_up(nats_server: NatsServer) -> None:
    async with routing(nats_server) as router:
        async with working(settings_for(nats_server)) as site:
            await router.add(entry(1))
            await caught_up(site, 1)
            await router.add(entry(2), aloud=False)
            await router.add(entry(3))
            await caught_up(site, 3)
            assert site.process.worker.known.catalog.find("org/m2") is not None
        async with working(settings_for(nats_server)) as site:
            await caught_up(site, 3)


async def test_what_nobody_said_is_found_by_looking_now_and_then(nats_server: NatsServer) -> None:
    async with routing(nats_server) as router, working(settings_for(nats_server, reconcile_s=0.2)) as site:
        await router.add(entry(1))
        await caught_up(site, 1)
        await router.add(entry(2), aloud=False)
        await caught_up(site, 2)


async def test_a_router_that_comes_later_and_with_another_store_is_followed(nats_server: NatsServer) -> None:
    async with working(settings_for(nats_server)) as site:
        for store, revision in (("store-1", 4), ("store-2", 2)):
            async with routing(nats_server, store) as router:
                await router.add(entry(revision))
                await caught_up(site, revision)
                assert site.process.worker.known.store == store
        assert site.process.worker.known.catalog.find("org/m4") is None


async def test_nats_killed_and_restarted_costs_nothing(nats: NatsServer) -> None:
    async with routing(nats) as router, working(settings_for(nats)) as site, site.watch() as socket:
        await router.add(entry(1))
        await status(socket, config_revision=1, ready=True)
        nats.kill()
        await router.add(entry(2), aloud=False)
        nats.start()
        assert (await status(socket, config_revision=2))["ready"] is True


async def test_a_profile_that_this_build_cannot_run_is_nacked_and_the_rest_served(nats_server: NatsServer) -> None:
    async with routing(nats_server) as router, working(settings_for(nats_server)) as site, site.watch() as socket:
        await status(socket, ready=True)
        await router.add(entry(1, adapter=UNKNOWN))
        said = await status(socket, config_revision=1)
        nack = {"model": "org/m1", "profile": "default", "reason": f"this worker has no adapter {UNKNOWN}"}
        assert said["config_nacks"] == [nack]
        await router.add(entry(2))
        assert (await status(socket, config_revision=2))["config_nacks"] == [nack]
        assert (await site.encode("org/m2", Prefer="wait=5")).status_code in (200, 503)


async def test_the_state_of_a_model_is_pushed(nats_server: NatsServer) -> None:
    async with routing(nats_server) as router, working(settings_for(nats_server)) as site, site.watch() as socket:
        await router.add(entry(1))
        await status(socket, config_revision=1, ready=True)
        assert (await site.encode("org/m1")).status_code == 503
        said = await status(socket, loaded_models=["org/m1"])
        assert [(one["name"], one["state"]) for one in said["models"]] == [("org/m1", "loaded")]


async def test_a_message_stays_small_with_ten_thousand_models() -> None:
    async with working(settings_for(None)) as site:
        for number in range(10_000):
            site.process.worker.known.suggest(
                Entry(
                    model_id=f"org/m{number}",
                    profiles={"default": {"adapter_path": UNKNOWN if number % 2 else DENSE}},
                    fields={"hf_id": MINILM},
                    write_id="",
                    time="",
                    router_id="",
                )
            )
        await site.encode("org/m0")
        async with site.watch() as socket:
            said = await status(socket)
            assert said["config_nacks_left_out"] > 4000
            site.process.standing.wake()
            await status(socket)


async def test_where_nothing_changes_the_heartbeat_is_heard() -> None:
    async with working(settings_for(None, status_heartbeat_s=0.02)) as site, site.watch() as socket:
        await status(socket, ready=True)
        changes = site.process.standing.changes
        for _ in range(20):
            await status(socket)
        assert site.process.standing.changes - changes < 10


async def test_what_routers_say_on_the_socket_is_not_kept() -> None:
    async with working(settings_for(None)) as site, site.watch() as socket:
        await status(socket, ready=True)
        for _ in range(100):
            await socket.send_message("x" * 1000)
        site.process.standing.drain()
        await status(socket, ready=False)


async def test_the_socket_and_inference_ask_for_the_token() -> None:
    async with working(settings_for(None, auth_token="t")) as site:
        for token in ("", "wrong"):
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "Sec-WebSocket-Version": "13",
                "Authorization": token,
            }
            assert (await site.get("/ws/status", **upgrade)).status_code == 401
        async with site.watch("t") as socket:
            await status(socket)
        assert (await site.get("/v1/models")).status_code == 401
        assert (await site.get("/healthz")).status_code == 200
    async with working(settings_for(None, auth_token="t", status_open=True)) as site, site.watch() as socket:
        await status(socket)
        assert (await site.get("/v1/models")).status_code == 401


async def test_what_a_router_knows_and_has_not_arrived_here_is_loading_not_absent(nats_server: NatsServer) -> None:
    async with routing(nats_server) as router, working(settings_for(nats_server)) as site:
        await router.add(entry(5))
        await caught_up(site, 5)
        codes = []
        for name, revision in (
            ("no/such", "5"),
            ("no/such", "6"),
            ("org/m5:new", "5"),
            ("org/m5:new", "6"),
            ("no/such", "x"),
        ):
            answer = await site.encode(name, SIE_Model_Revision=revision)
            codes.append((answer.status_code, answer.json()["detail"]["code"]))
        assert codes == [
            (404, "MODEL_NOT_FOUND"),
            (503, "MODEL_LOADING"),
            (400, "INVALID_INPUT"),
            (503, "MODEL_LOADING"),
            (400, "INVALID_INPUT"),
        ]
        asked = {"items": [{"text": "a"}], "params": {"options": {"profile": "new"}}}
        async with httpx.AsyncClient(base_url=site.url, trust_env=False) as client:
            answer = await client.post("/v1/encode/org/m5", json=asked, headers={"X-SIE-Model-Revision": "6"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        # Revisions count in their own store: five of the one that is followed are none of another's.
        answer = await site.encode("no/such", SIE_Model_Revision="1", SIE_Model_Store="another")
        assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "MODEL_LOADING")
        answer = await site.encode("no/such", SIE_Model_Revision="5", SIE_Model_Store=router.store)
        assert answer.status_code == 404


async def test_at_the_stop_it_says_so_finishes_and_lets_the_routers_go() -> None:
    async with working(settings_for(None)) as site, site.watch() as socket:
        await status(socket, ready=True)
        answered: list[int] = []
        half, go = trio.Event(), trio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'{"items": [{"text": '
            half.set()
            await go.wait()
            yield b'"a"}]}'

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=site.url, trust_env=False) as client:
                answer = await client.post(f"/v1/encode/{MINILM}", content=body())
                answered.append(answer.status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await half.wait()
            await trio.testing.wait_all_tasks_blocked(0.05)
            site.stop.set()
            await status(socket, ready=False)
            assert not site.stopped.is_set()
            assert site.process.trouble == "on its way out"
            go.set()
        assert answered == [503]  # the model had only begun to load: answered all the same
        with pytest.raises(ConnectionClosed) as closed:
            await status(socket, ready=True)
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1001
        with trio.fail_after(PATIENCE_S):
            await site.stopped.wait()


async def test_a_v0110_router_is_listened_to_and_counted_as_nothing(nats_server: NatsServer) -> None:
    def said(model_id: str, config: str) -> dict[str, object]:
        return {
            "model_id": model_id,
            "profiles_added": ["default"],
            "epoch": 7,
            "router_id": "old-router",
            "model_config": config,
            "bundle_config_hash": "x",
        }

    good = f"sie_id: old/model\nhf_id: {MINILM}\nprofiles:\n  default:\n    adapter_path: {DENSE}\n"
    async with working(settings_for(nats_server, catchup_s=0.05)) as site, Stranger(nats_server) as stranger:
        process = site.process
        with trio.fail_after(PATIENCE_S):
            await process.standing.wait_until(lambda: process.standing.ready)
        assert process.bus is not None
        with process.bus.follow_legacy("default") as hints:
            assert isinstance(await hints.receive(), Nudge)
        subject = "sie.config.models.default"
        await stranger.say(subject, said("old/other", good))
        await stranger.say(subject, said("old/broken", "profiles: ["))
        await stranger.say(subject, said("old/model", good))
        with trio.fail_after(PATIENCE_S):
            while process.worker.known.catalog.find("old/model") is None:
                await trio.sleep(0.01)
        assert (process.legacy.taken, process.legacy.ignored.total()) == (1, 2)
        assert process.worker.known.complete_to == 0


async def test_a_bundle_that_is_none_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SIE_BUNDLE"):
        async with open_worker(Settings(bundle="nope")):
            pass
    async with open_worker(Settings(store_dir=str(tmp_path / "store")), device=FakeDevice()) as process:
        with trio.fail_after(PATIENCE_S):
            await process.standing.wait_until(lambda: process.standing.ready)
    assert not (tmp_path / "store").exists()


async def test_a_shared_store_is_read_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path) as port:
        shared = Shared.at("s3", port, monkeypatch)
        settings = settings_for(None, store_dir=shared.url, reconcile_s=0.2, catchup_s=1000.0)
        async with working(settings) as site, site.watch() as socket:
            refused = await site.get("/readyz")
            assert (refused.status_code, "store" in refused.text) == (503, True)
            assert shared.bucket().get("id") is None
            store = await shared.open()
            await store.append(entry(1))
            said = await status(socket, ready=True, config_revision=1)
            assert said["config_store"] == store.id
            await store.append(entry(2))
            await status(socket, config_revision=2)
            assert shared.bucket().names("snapshot") == []
            await store.aclose()
