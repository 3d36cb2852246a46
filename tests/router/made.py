"""Routers' and workers' HTTP behind real sockets, and catalogs, for the tests of the router's edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import trio
from quart import Blueprint

from sie.catalog.bundle import Bundle
from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry
from sie.http.app import http_app
from sie.http.server import serve_app
from sie.settings import Settings

ADAPTER = "sie.worker.adapters.dense:DenseAdapter"
MODULE = "sie.worker.adapters.dense"
STORE = "store-1"


@dataclass
class Site:
    """`stopped` is set when its server has returned."""

    url: str = ""
    stop: trio.Event = field(default_factory=trio.Event)
    stopped: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def kill(self) -> None:
        """Every connection is cut, as by the end of its process."""
        self.scope.cancel(reason="killed by the test")

    def client(self, **said: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False, **said)


async def open_site(nursery: trio.Nursery, *blueprints: Blueprint, port: int = 0, **said: Any) -> Site:
    """These routes on a free port, until the test ends."""
    settings = replace(Settings(port=port), **said)
    site = Site()

    async def serve(task_status: trio.TaskStatus[str]) -> None:
        with site.scope:
            await serve_app(http_app(settings, *blueprints), settings, stop=site.stop, task_status=task_status)
        site.stopped.set()

    site.url = await nursery.start(serve)
    return site


async def eventually(met: Callable[[], bool]) -> None:
    """For what has no event to wait on, as statistics."""
    with trio.fail_after(10):
        while not met():  # noqa: ASYNC110
            await trio.sleep(0.005)


def entry(
    revision: int,
    model_id: str = "org/model",
    profiles: Sequence[str] = ("default",),
    *,
    adapter: str = ADAPTER,
    text: str = "",
) -> Entry:
    content: Mapping[str, Any] = {"adapter_path": adapter}
    return Entry(
        model_id=model_id,
        profiles=dict.fromkeys(profiles, content),
        fields={"hf_id": text or model_id},
        write_id=f"write-{revision}",
        time="2026-01-01T00:00:00Z",
        router_id="router-1",
        body_hash="secret-hash",
        idempotency_key="secret-key",
        revision=revision,
    )


def catalog_of(*entries: Entry, bundles: Mapping[str, Sequence[str]] | None = None) -> Catalog:
    """Bundles by name, with the modules in them; the first is preferred."""
    named = bundles if bundles is not None else {"default": (MODULE,)}
    catalog = Catalog(
        Bundle(bundle_id=name, priority=10 + place, adapters=tuple(modules))
        for place, (name, modules) in enumerate(named.items())
    )
    for one in entries:
        catalog.advance(one)
    return catalog
