"""What is always open: is it alive, is it ready, how does it stand."""

from __future__ import annotations

import html
from typing import Any

import orjson
from prometheus_client.registry import Collector
from quart import Blueprint, Response, request

from sie.http.auth import Access
from sie.observe.metrics import exposition
from sie.observe.plane import plane_numbers
from sie.observe.probes import add_probes
from sie.router.plane import ConfigPlane
from sie.wire.status import WorkerStatus


def health_blueprint(plane: ConfigPlane, access: Access, *numbers: Collector) -> Blueprint:
    """`/`, `/healthz`, `/readyz`, `/health`, `/metrics`. The last two ask for a token where a setting says so.

    `numbers`: shown by `/metrics` beside the plane's own.
    """
    routes = Blueprint("health", __name__)

    @routes.get("/")
    async def front() -> Response:
        models = "".join(
            f"<li><code>{html.escape(one.sie_id)}</code> {html.escape(', '.join(one.profiles))}</li>"
            for one in plane.head.catalog.models()
        )
        return Response(_PAGE.format(models=models, revision=plane.head.revision), content_type="text/html")

    def guard() -> None:
        if plane.settings.close_health:
            access.require_read(request.headers)

    @routes.get("/health")
    async def health() -> Response:
        guard()
        return Response(orjson.dumps(await cluster_status(plane)), content_type="application/json")

    add_probes(
        routes, trouble=lambda: plane.trouble, numbers=lambda: exposition(*plane_numbers(plane), *numbers), guard=guard
    )
    return routes


async def cluster_status(plane: ConfigPlane) -> dict[str, Any]:
    """The body of `/health`, as SIE v0.1.10's router gives it; clients read `type` to tell a router from a worker."""
    workers = plane.workers()
    healthy = [one for one in workers if one.ready]
    serving: dict[str, list[WorkerStatus]] = {}
    for worker in healthy:
        for model in worker.loaded_models:
            serving.setdefault(model, []).append(worker)
    machine = plane.settings.machine_profile
    configured = plane.settings.configured_machines or ((machine,) if machine else ())
    return {
        "status": "healthy" if healthy else "degraded",
        "type": "router",
        "cluster": {
            "worker_count": len(healthy),
            "gpu_count": sum(one.gpu_count for one in healthy),
            "models_loaded": len(serving),
            "total_qps": 0.0,
        },
        "configured_gpu_types": list(configured),
        "live_gpu_types": sorted({one.machine_profile for one in healthy if one.machine_profile}),
        "workers": [await _worker(plane, one) for one in workers],
        "models": [
            {
                "name": name,
                "state": "loaded",
                "worker_count": len(having),
                "gpu_types": sorted({one.machine_profile for one in having if one.machine_profile}),
                "total_queue_depth": sum(one.queue_depth for one in having),
            }
            for name, having in sorted(serving.items())
        ],
    }


async def _worker(plane: ConfigPlane, one: WorkerStatus) -> dict[str, Any]:
    config_hash = one.bundle_config_hash
    if not one.url and one.bundle in plane.head.catalog.bundles:
        config_hash = await plane.config_hash(one.bundle)
    return {
        "name": one.name,
        "url": one.url,
        "gpu": one.machine_profile,
        "gpu_count": one.gpu_count,
        "loaded_models": list(one.loaded_models),
        "queue_depth": one.queue_depth,
        "memory_used_bytes": one.memory_used_bytes,
        "memory_total_bytes": one.memory_total_bytes,
        "healthy": one.ready,
        "bundle": one.bundle,
        "bundle_config_hash": config_hash,
        "config_revision": one.revision,
        "config_digest": one.digest,
        "config_state": _config_state(plane, one),
    }


def _config_state(plane: ConfigPlane, one: WorkerStatus) -> str:
    """`level`; `behind`: it lacks entries; `differs`: it has them all, and something else beside, or other files."""
    head = plane.head
    if one.bundle not in head.catalog.bundles:
        return "differs"
    if one.by_hash:
        return "level" if plane.fleet.shows_newest_hash(one) else "differs"
    revision = one.revision if one.store == head.store_id else one.others.get(head.store_id, -1)
    if revision < head.catalog.bundle_head(one.bundle):
        return "behind"
    return "level" if one.digest == head.catalog.digest(one.bundle) else "differs"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>SIE</title></head>
<body><h1>SIE</h1><p>Config revision {revision}.
<a href="/v1/models">models</a> · <a href="/v1/configs/models">configs</a> · <a href="/v1/configs/bundles">bundles</a> ·
<a href="/health">health</a> · <a href="/readyz">readiness</a> · <a href="/metrics">metrics</a></p>
<ul>{models}</ul></body></html>
"""
