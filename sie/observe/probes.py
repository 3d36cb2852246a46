"""What whoever operates a process asks of it, router or worker: is it alive, is it ready, what are its numbers."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response

_TEXT = "text/plain"


def add_probes(
    routes: Blueprint, *, trouble: Callable[[], str | None], numbers: Callable[[], bytes], guard: Callable[[], None]
) -> None:
    """`/healthz`, `/readyz`, `/metrics`. `trouble` says why not ready, or None; `guard` raises for who may not see the
    numbers, Prometheus text."""

    @routes.get("/healthz")
    async def alive() -> Response:
        return Response("ok", content_type=_TEXT)

    @routes.get("/readyz")
    async def ready() -> Response:
        if (why := trouble()) is not None:
            return Response(f"not ready: {why}", status=503, content_type=_TEXT)
        return Response("ok", content_type=_TEXT)

    @routes.get("/metrics")
    async def metrics() -> Response:
        guard()
        return Response(numbers(), content_type=f"{_TEXT}; version=0.0.4")
