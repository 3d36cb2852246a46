"""What is always open: is it alive, is it ready, how does it stand."""

from __future__ import annotations

import html
from typing import Any

import orjson
from quart import Blueprint, Response, request

from sie.engine import Engine
from sie.http.auth import Access
from sie.observe.metrics import exposition


def health_blueprint(engine: Engine, access: Access) -> Blueprint:
    """`/`, `/healthz`, `/readyz`, `/health`, `/metrics`. The last two ask for a token where a setting says so."""
    routes = Blueprint("health", __name__)

    @routes.get("/")
    async def front() -> Response:
        models = "".join(
            f"<li><code>{html.escape(one.sie_id)}</code> {html.escape(', '.join(one.profiles))}</li>"
            for one in engine.head.catalog.models()
        )
        return Response(_PAGE.format(models=models, revision=engine.head.revision), content_type="text/html")

    @routes.get("/healthz")
    async def alive() -> Response:
        return Response("ok", content_type="text/plain")

    @routes.get("/readyz")
    async def ready() -> Response:
        if engine.trouble is not None:
            return Response(f"not ready: {engine.trouble}", status=503, content_type="text/plain")
        return Response("ok", content_type="text/plain")

    @routes.get("/health")
    async def health() -> Response:
        if engine.settings.close_health:
            access.require_read(request.headers)
        return Response(orjson.dumps(cluster_status(engine)), content_type="application/json")

    @routes.get("/metrics")
    async def metrics() -> Response:
        if engine.settings.close_health:
            access.require_read(request.headers)
        return Response(exposition(engine), content_type="text/plain; version=0.0.4")

    return routes


def cluster_status(engine: Engine) -> dict[str, Any]:
    """The body of `/health`, as SIE v0.1.10's router gives it; clients read `type` to tell a router from a worker."""
    workers = engine.fleet.workers
    healthy = [one for one in workers if one.ready]
    models = [one for one in engine.models() if one.loaded]
    machine = engine.settings.machine_profile
    load = engine.compute.statistics()
    return {
        "status": "healthy" if healthy else "degraded",
        "type": "router",
        "cluster": {
            "worker_count": len(healthy),
            "gpu_count": 0 if load.device == "cpu" else 1,
            "models_loaded": len(models),
            "total_qps": 0.0,
        },
        "configured_gpu_types": [machine] if machine else [],
        "live_gpu_types": [machine] if machine and healthy else [],
        "workers": [
            {
                "name": one.name,
                "url": "",
                "gpu": one.machine_profile,
                "gpu_count": 0 if load.device == "cpu" else 1,
                "loaded_models": [model.name for model in models if one.bundle in model.bundles],
                "queue_depth": load.queue_depth,
                "memory_used_bytes": load.memory_used_bytes,
                "memory_total_bytes": load.memory_budget_bytes or 0,
                "healthy": one.ready,
                "bundle": one.bundle,
                "bundle_config_hash": engine.config_hash(one.bundle),
                "config_revision": one.revision,
                "config_digest": one.digest,
            }
            for one in workers
        ],
        "models": [
            {
                "name": one.name,
                "state": "loaded",
                "worker_count": len([worker for worker in healthy if worker.bundle in one.bundles]),
                "gpu_types": [machine] if machine else [],
                "total_queue_depth": load.queue_depth,
            }
            for one in models
        ],
    }


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>SIE</title></head>
<body><h1>SIE</h1><p>Config revision {revision}.
<a href="/v1/models">models</a> · <a href="/v1/configs/models">configs</a> · <a href="/v1/configs/bundles">bundles</a> ·
<a href="/health">health</a> · <a href="/readyz">readiness</a> · <a href="/metrics">metrics</a></p>
<ul>{models}</ul></body></html>
"""
