"""A router: the config plane, links to its workers, and inference passed on to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sie.router.forward import open_forwarder
from sie.router.hashes import keep_hashes
from sie.router.links import Links
from sie.router.plane import ConfigPlane, open_plane
from sie.router.proxy import Proxy
from sie.services import open_services
from sie.settings import Settings
from sie.store.open import is_shared


class Router(ConfigPlane):
    """What `open_router` gives: the config plane of this router, and the proxy to its workers."""

    def __init__(self, plane: ConfigPlane, *, proxy: Proxy, links: Links) -> None:
        super().__init__(
            settings=plane.settings, head=plane.head, writer=plane.writer, fleet=plane.fleet, watch=plane.watch
        )
        self.proxy = proxy
        self.links = links


@asynccontextmanager
async def open_router(settings: Settings) -> AsyncIterator[Router]:
    """Run a router for as long as the block does. Entered when the store is read, where settings ask for that first.

    Workers, NATS and the store may be away, and come. Raises as `open_plane` does, and ConfigurationError for workers'
    addresses that are none.
    """
    async with (
        open_plane(settings) as (plane, _),
        open_forwarder(settings) as forwarder,
        open_services("the router's block has ended") as services,
    ):
        if settings.nats_url is None and not is_shared(settings):
            plane.writer.unheard = (
                "workers_not_told: with neither SIE_NATS_URL nor a shared store they cannot hear of it"
            )
        links = Links(plane.fleet.heard, plane.fleet.left, settings)
        await services.start(links.run)
        services.start_soon(keep_hashes, plane)
        proxy = Proxy(plane.head, plane.fleet, forwarder, settings, plane.reach)
        yield Router(plane, proxy=proxy, links=links)
