"""A router of SIE v0.1.10, as far as workers and other routers can tell: NATS, links, its store, its proxy."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import nats
import yaml
from aiohttp import web
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.legacy.loop import LoopThread
from tests.legacy.old_hash import router_hash
from tests.legacy.old_status import Heard, hear

PATIENCE_S = 3.0
POLL_S = 0.2
MOST_MESSAGE_BYTES = 2**20  # of the WebSocket library's default
MACHINE = "X-SIE-MACHINE-PROFILE"
_HASHED = ("adapter_path", "max_batch_tokens", "compute_precision", "adapter_options")
_DROPPED = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers"),
    *("transfer-encoding", "upgrade", "host", "content-length"),
}


@dataclass
class Linked:
    """One worker as this router sees it. `refused`: the HTTP status of a handshake that was refused."""

    url: str
    healthy: bool = False
    heard: Heard | None = None
    message: dict[str, Any] = field(default_factory=dict)
    dials: int = 0
    refused: int | None = None


class OldRouter(LoopThread):
    """`workers`: URLs. `bundles`: each bundle's adapter modules. `store`: a directory, or None for memory alone.

    `redial_s`: that release waits 5 seconds; a test that does not look at it has no need to.
    """

    def __init__(
        self,
        nats_url: str,
        *,
        workers: Sequence[str] = (),
        bundles: Mapping[str, Sequence[str]],
        files: Sequence[str] = (),
        router_id: str = "sie-router-0",
        store: Path | None = None,
        configured_gpus: Sequence[str] = (),
        redial_s: float = 5.0,
    ) -> None:
        super().__init__()
        self.router_id = router_id
        self.bundles = bundles
        self.store = store
        self.models: dict[str, dict[str, Any]] = {}
        self.linked = {url: Linked(url) for url in workers}
        self.heard: list[dict[str, Any]] = []  # of other routers
        self.failed: list[str] = []
        self.configured_gpus = configured_gpus
        self.redial_s = redial_s
        self.port = 0
        self._nats_url = nats_url
        for text in files:
            self._add(yaml.safe_load(text))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hash(self, bundle: str = "default") -> str:
        adapters = self.bundles[bundle]
        return router_hash({one: self.models[one] for one in self.models if bundle in self.bundles_of(one)}, adapters)

    def bundles_of(self, sie_id: str) -> list[str]:
        """Every bundle that has the module of any of its profiles."""
        modules = {str(one.get("adapter_path")).partition(":")[0] for one in self.models[sie_id]["profiles"].values()}
        return [bundle for bundle, adapters in self.bundles.items() if modules & set(adapters)]

    def add_model(self, text: str) -> tuple[int, dict[str, Any]]:
        """POST /v1/configs/models: its status and body."""
        return self.call(self._post(text))

    def say(self, subject: str, message: Any) -> None:
        """Anything, as it is."""
        self.call(self._publish([(subject, message)]))

    # -- the process

    async def _start(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/{kind:encode|score|extract}/{model:.+}", self._forward)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self._client = aiohttp.ClientSession(auto_decompress=False)
        self._nats: Client = await nats.connect(self._nats_url, max_reconnect_attempts=-1, reconnect_time_wait=2)
        await self._nats.subscribe("sie.config.models._all", cb=self._hear)
        await self._nats.flush()
        for linked in self.linked.values():
            self.spawn(self._follow(linked))

    async def _stop(self) -> None:
        with suppress(Exception):
            await self._nats.close()
        await self._client.close()
        await self._runner.cleanup()

    # -- the Config API

    async def _post(self, text: str) -> tuple[int, dict[str, Any]]:
        document = yaml.safe_load(text)
        try:
            created, skipped = self._add(document)
        except ValueError as fault:
            return 422, {"detail": {"error": "validation_error", "details": [{"message": str(fault)}]}}
        sie_id = document["sie_id"]
        affected = self.bundles_of(sie_id)
        merged, epoch = self._persist(sie_id, document, text) if created else (text, 0)
        hashes = {bundle: self.hash(bundle) for bundle in affected}
        if created:
            await self._announce(sie_id, created, merged, epoch, hashes)
        body: dict[str, Any] = {
            "model_id": sie_id,
            "created_profiles": created,
            "existing_profiles_skipped": skipped,
            "warnings": [],
            "routable_bundles_by_profile": dict.fromkeys(created, affected),
            "router_id": self.router_id,
        }
        counted = await self._wait(hashes, body["warnings"])
        body["worker_ack_pending"] = counted["pending_workers"] > 0 or not counted["total_eligible"]
        return (201, {**body, **counted}) if created else (200, body)

    def _add(self, document: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Append-only, by the four hashed fields as they were parsed."""
        if not document.get("sie_id") or not document.get("profiles"):
            raise ValueError("no sie_id or no profiles")
        known = self.models.get(document["sie_id"], {}).get("profiles", {})
        created, skipped = [], []
        for name, one in document["profiles"].items():
            if name not in known:
                created.append(name)
            elif any(known[name].get(key) != one.get(key) for key in _HASHED):
                raise ValueError(f"profile {name} exists with other content")
            else:
                skipped.append(name)
        profiles = {**known, **{name: document["profiles"][name] for name in created}}
        self.models[document["sie_id"]] = {**document, "profiles": profiles}
        return created, skipped

    def _persist(self, sie_id: str, document: dict[str, Any], text: str) -> tuple[str, int]:
        """What goes on the wire and its epoch: the merged model and the counter, or the body as it came and 0."""
        if self.store is None:
            return text, 0
        file = self.store / "models" / f"{sie_id.replace('/', '__')}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        stored = yaml.safe_load(file.read_text())["profiles"] if file.exists() else {}
        merged = yaml.safe_dump({**document, "profiles": {**stored, **document["profiles"]}}, sort_keys=False)
        file.write_text(merged)
        counter = self.store / "epoch"
        epoch = int(counter.read_text()) + 1 if counter.exists() else 1
        counter.write_text(str(epoch))
        return merged, epoch

    async def _announce(
        self, sie_id: str, created: list[str], model_config: str, epoch: int, hashes: Mapping[str, str]
    ) -> None:
        common = {
            "model_id": sie_id,
            "profiles_added": created,
            "epoch": epoch,
            "router_id": self.router_id,
            "model_config": model_config,
        }
        messages = [(f"sie.config.models.{one}", {**common, "bundle_config_hash": hashes[one]}) for one in hashes]
        await self._publish([*messages, ("sie.config.models._all", {**common, "affected_bundles": list(hashes)})])

    async def _publish(self, messages: Sequence[tuple[str, Any]]) -> None:
        for subject, message in messages:
            await self._nats.publish(subject, json.dumps(message).encode())

    async def _wait(self, hashes: Mapping[str, str], warnings: list[str]) -> dict[str, int]:
        """Up to 3 seconds, asked each 0.2 s, until each affected bundle that has workers has one with its hash."""
        eligible = [
            one for one in self.linked.values() if one.healthy and one.heard and one.heard.bundle.lower() in hashes
        ]
        if not eligible:
            warnings.append("no_eligible_workers_connected")
        acked: list[Linked] = []
        deadline = time.monotonic() + PATIENCE_S
        while eligible:
            acked = [one for one in eligible if one.heard and one.heard.bundle_config_hash == hashes[one.heard.bundle]]
            if {one.heard.bundle for one in acked if one.heard} == {one.heard.bundle for one in eligible if one.heard}:
                break
            if time.monotonic() > deadline:
                warnings.append("Serving readiness not met within timeout")
                break
            await asyncio.sleep(POLL_S)
        with_workers = {one.heard.bundle for one in eligible if one.heard}
        return {
            "eligible_bundles_count": len(hashes),
            "eligible_bundles_with_workers_count": len(with_workers),
            "acked_workers": len(acked),
            "total_eligible": len(eligible),
            "pending_workers": len(eligible) - len(acked),
        }

    async def _hear(self, message: Msg) -> None:
        try:
            said = json.loads(message.data)
            if said["router_id"] == self.router_id:
                return
            self.heard.append(said)
            self._add(yaml.safe_load(said["model_config"]))
        except Exception as fault:
            self.failed.append(f"{type(fault).__name__}: {fault}")

    # -- links

    async def _follow(self, linked: Linked) -> None:
        while True:
            linked.dials += 1
            try:
                await self._listen(linked)
            except aiohttp.WSServerHandshakeError as fault:
                linked.refused = fault.status
                return  # in that release the task dies of it
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            finally:
                linked.healthy = False
            await asyncio.sleep(self.redial_s)

    async def _listen(self, linked: Linked) -> None:
        url = linked.url.replace("http", "ws", 1) + "/ws/status"
        async with self._client.ws_connect(url, max_msg_size=MOST_MESSAGE_BYTES, heartbeat=20) as socket:
            async for frame in socket:
                assert frame.type is aiohttp.WSMsgType.TEXT
                linked.message = json.loads(frame.data)
                linked.heard = hear(linked.message)
                linked.healthy = linked.healthy or linked.heard.ready  # a healthy one is never demoted by it

    # -- the proxy

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        kind, spec = request.match_info["kind"], request.match_info["model"]
        model = spec.partition(":/")[2] or spec
        if model not in self.models:
            return web.json_response({"error": "model_not_found", "model": model, "message": "unknown"}, status=404)
        asked = request.headers.get(MACHINE, "").rpartition("/")[2]
        if asked and asked not in self.configured_gpus and f"{asked}-spot" in self.configured_gpus:
            asked = f"{asked}-spot"
        able = [
            one
            for one in self.linked.values()
            if one.healthy
            and one.heard is not None
            and (not asked or one.heard.machine_profile.lower() == asked.lower())
            and one.heard.bundle.lower() == self.bundles_of(model)[0].lower()
        ]
        if not able and asked:
            said = {"status": "provisioning", "gpu": asked, "estimated_wait_s": 180, "message": "none yet"}
            return web.json_response(said, status=202, headers={"Retry-After": "120"})
        if not able:
            return web.json_response({"message": "No healthy workers available"}, status=503)
        worker = min(able, key=lambda one: one.heard.queue_depth if one.heard else 0)
        return await self._pass_on(request, worker, f"/v1/{kind}/{model}")

    async def _pass_on(self, request: web.Request, worker: Linked, path: str) -> web.StreamResponse:
        """Without the query; every header but those of the connection; the answer's headers back, and the worker's
        name."""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _DROPPED]
        try:
            async with self._client.post(worker.url + path, headers=headers, data=request.content) as answer:
                back = [(name, value) for name, value in answer.headers.items() if name.lower() not in _DROPPED]
                back.append(("X-SIE-Worker", (worker.heard.name if worker.heard else "") or worker.url))
                response = web.StreamResponse(status=answer.status)
                for name, value in back:
                    response.headers.add(name, value)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except aiohttp.ClientError as fault:
            worker.healthy = False
            return web.json_response({"message": f"Worker connection error: {fault}"}, status=502)
