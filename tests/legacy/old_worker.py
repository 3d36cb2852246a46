"""A worker of SIE v0.1.10, as far as routers can tell: NATS, `/ws/status`, and HTTP for inference."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgpack
import nats
import yaml
from aiohttp import WSCloseCode, web
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.legacy.loop import LoopThread
from tests.legacy.old_answers import answer, content, refusal
from tests.legacy.old_hash import worker_hash
from tests.legacy.old_model import Document, strict, take_on

STATUS_S = 0.2


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class OldWorker(LoopThread):
    """Started with `--bundle`: what its image's `files` hold is all it knows at first.

    `minimal`: its status is the shortest that its release's routers take. The rest are knobs for a test, set at any
    time: `apply_delay_s`, between hearing and applying; `deaf`, how many of the next messages never arrive; `loading`,
    models that answer as long as their weights come; `ready`.
    """

    def __init__(
        self,
        nats_url: str,
        *,
        name: str = "",
        bundle: str = "default",
        machine_profile: str = "",
        files: Sequence[str] = (),
        minimal: bool = False,
        port: int = 0,
    ) -> None:
        super().__init__()
        self.name = name
        self.bundle = bundle
        self.machine_profile = machine_profile
        self.minimal = minimal
        self.ready = True
        self.apply_delay_s = 0.0
        self.deaf = 0
        self.loading: set[str] = set()
        self.draining = False
        self.models: dict[str, Document] = {one["sie_id"]: one for one in map(_from_file, files)}
        self.loaded: list[str] = []
        self.heard: list[dict[str, Any]] = []  # every message that arrived, applied or not
        self.dropped: list[dict[str, Any]] = []  # below their model's watermark
        self.failed: list[str] = []
        self.asked: list[Asked] = []
        self.dials: list[Mapping[str, str]] = []  # headers of each router that dialled in
        self.port = port
        self._nats_url = nats_url
        self._watermarks: dict[str, int] = {}
        self._sockets: set[web.WebSocketResponse] = set()
        self._began = time.time()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hash(self) -> str:
        return worker_hash(self.models)

    @property
    def inferences(self) -> list[Asked]:
        return [one for one in self.asked if one.path.startswith(("/v1/encode/", "/v1/score/", "/v1/extract/"))]

    def drop_routers(self) -> None:
        """Every status connection breaks, as it does when a router's host fails over."""
        self.call(self._drop_routers())

    # -- the process

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._shutdown_layer])
        app.add_routes(
            [
                web.get("/ws/status", self._status),
                web.get("/healthz", self._ok),
                web.get("/readyz", self._ok),
                web.get("/v1/models", self._list),
                web.get("/v1/models/{model:.+}", self._show),
                web.post("/v1/{kind:encode|score|extract}/{model:.+}", self._infer),
                web.post("/v1/embeddings", self._embeddings),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._nats: Client = await nats.connect(
            self._nats_url, max_reconnect_attempts=-1, reconnect_time_wait=2, reconnected_cb=self._reconnected
        )
        await self._nats.subscribe(f"sie.config.models.{self.bundle}", cb=self._hear)
        await self._nats.flush()

    async def _stop(self) -> None:
        with suppress(Exception):
            await self._nats.close()
        await self._drop_routers()
        await self._runner.cleanup()

    async def _drop_routers(self) -> None:
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    # -- NATS

    async def _reconnected(self) -> None:
        self._watermarks.clear()

    async def _hear(self, message: Msg) -> None:
        if self.deaf:
            self.deaf -= 1
            return
        said = json.loads(message.data)
        self.heard.append(said)
        if self.apply_delay_s:
            await asyncio.sleep(self.apply_delay_s)  # in its turn: what comes later waits
        model_id, epoch = said["model_id"], said["epoch"]
        if epoch <= self._watermarks.get(model_id, -1):
            self.dropped.append(said)
            return
        self._watermarks[model_id] = epoch  # also of what fails
        try:
            document = take_on(said["model_config"])
        except Exception as fault:
            self.failed.append(f"{type(fault).__name__}: {fault}")
        else:
            self.models[document["sie_id"]] = document

    # -- status

    async def _status(self, request: web.Request) -> web.WebSocketResponse:
        self.dials.append(request.headers.copy())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        self.spawn(_hear_nothing(socket))
        try:
            while not socket.closed:
                await socket.send_str(json.dumps(self.minimal_message() if self.minimal else self.message()))
                await asyncio.sleep(STATUS_S)
        except ConnectionError:
            pass
        finally:
            self._sockets.discard(socket)
        return socket

    def minimal_message(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "name": self.name,
            "bundle": self.bundle,
            "bundle_config_hash": self.hash,
            "machine_profile": self.machine_profile,
            "loaded_models": list(self.loaded),
            "models": [{"name": name, "queue_depth": 0} for name in self.loaded],
        }

    def message(self) -> dict[str, Any]:
        return {
            "timestamp": time.time(),
            "ready": self.ready,
            "name": self.name,
            "machine_profile": self.machine_profile,
            "pool_name": "",
            "gpu_count": 1,
            "bundle": self.bundle,
            "bundle_config_hash": self.hash,
            "loaded_models": list(self.loaded),
            "max_batch_requests": 64,
            "server": {
                "version": "0.1.0",
                "uptime_seconds": int(time.time() - self._began),
                "user": "sie",
                "working_dir": "/app",
                "pid": os.getpid(),
            },
            "gpus": [
                {
                    "device": "cuda:0",
                    "name": "NVIDIA L4",
                    "gpu_type": "l4",
                    "utilization_pct": 7,
                    "memory_used_bytes": 3 * 2**30,
                    "memory_total_bytes": 24 * 2**30,
                    "memory_threshold_pct": 85.0,
                }
            ],
            "models": [self._model_status(document) for document in self.models.values()],
            "counters": {"sie_requests": dict.fromkeys(self.loaded, 3.0)},
            "histograms": {"sie_batch_size": {name: {"buckets": [1.0, 8.0], "counts": [1, 2]} for name in self.loaded}},
        }

    def _model_status(self, document: Document) -> dict[str, Any]:
        name = document["sie_id"]
        loaded = name in self.loaded
        return {
            "name": name,
            "state": "loaded" if loaded else "loading" if name in self.loading else "available",
            "device": "cuda:0" if loaded else None,
            "memory_bytes": 2**20 if loaded else 0,
            "config": {
                "hf_id": document.get("hf_id"),
                "adapter": document["profiles"]["default"].get("adapter_path"),
                "inputs": ["text"],
                "outputs": list(document["tasks"].get("encode") or {}),
                "dims": {kind: one["dim"] for kind, one in (document["tasks"].get("encode") or {}).items()},
                "max_sequence_length": document.get("max_sequence_length"),
            },
            "queue_depth": 0,
            "queue_pending_items": 0,
        }

    # -- HTTP

    @web.middleware
    async def _shutdown_layer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path != "/ws/status":
            body = await request.read()
            self.asked.append(Asked(request.path, request.query_string, request.headers.copy(), body))
            if self.draining:
                said = {"error": "Service shutting down", "detail": "The server is finishing what it has in hand."}
                return web.json_response(said, status=503, headers={"Retry-After": "5"})
        return await handler(request)

    async def _ok(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [self._info(one) for one in self.models.values()]})

    async def _show(self, request: web.Request) -> web.Response:
        found = self.models.get(request.match_info["model"])
        if found is None:
            return refusal(404, "MODEL_NOT_FOUND", "no such model")
        return web.json_response(self._info(found))

    def _info(self, document: Document) -> dict[str, Any]:
        encode = document["tasks"].get("encode") or {}
        return {
            "name": document["sie_id"],
            "inputs": ["text"],
            "outputs": list(encode),
            "dims": {kind: one["dim"] for kind, one in encode.items()},
            "loaded": document["sie_id"] in self.loaded,
            "max_sequence_length": document.get("max_sequence_length"),
            "profiles": {name: {"is_default": name == "default"} for name in document["profiles"]},
        }

    async def _infer(self, request: web.Request) -> web.Response:
        kind, model = request.match_info["kind"], request.match_info["model"]
        if refused := self._wrong_machine(request):
            return refused
        packed = "msgpack" in request.headers.get("Content-Type", "")
        try:
            said = msgpack.unpackb(await request.read()) if packed else json.loads(await request.read())
        except ValueError:
            return refusal(400, "INVALID_INPUT", "the body cannot be read")
        document = self.models.get(model)
        if document is None:
            return refusal(404, "MODEL_NOT_FOUND", f"Model '{model}' not found")
        if model in self.loading:
            return refusal(503, "MODEL_LOADING", "loading", {"Retry-After": "5"})
        if kind not in document["tasks"]:
            return refusal(400, "INVALID_INPUT", f"Model '{model}' does not support {kind}")
        if model not in self.loaded:
            self.loaded.append(model)
        return answer(request, content(kind, model, said["items"]))

    def _wrong_machine(self, request: web.Request) -> web.Response | None:
        asked = request.headers.get("X-SIE-MACHINE-PROFILE")
        if asked is None or asked.strip().lower() == self.machine_profile.lower() != "":
            return None
        more = {"requested_profile": asked, "worker_identity": self.machine_profile}
        return refusal(400, "INVALID_INPUT", "another machine was asked for", more=more)

    async def _embeddings(self, request: web.Request) -> web.Response:
        said = json.loads(await request.read())
        if said["model"] not in self.models:
            more = {"error": {"code": "model_not_found", "message": "no such model", "type": "invalid_request_error"}}
            return web.json_response({"detail": more}, status=404)
        one = {"object": "embedding", "embedding": [1.0, 2.0, 3.0, 4.0], "index": 0}
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": [one], "model": said["model"], "usage": usage})


def _from_file(text: str) -> Document:
    return strict(yaml.safe_load(text))


async def _hear_nothing(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass
