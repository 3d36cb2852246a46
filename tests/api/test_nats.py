"""What the page says of NATS, from outside: a real server, one or two services, and a subscriber of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import yaml

from sie.catalog.change import read_model
from sie.catalog.digest import bundle_config_hash
from tests.api.conftest import service
from tests.bus.natsserver import NatsServer, Stranger
from tests.pages import APPEND, FIRST, MINIMAL, PAGE_ID

MODELS = "/v1/configs/models"
KNOWN = MINIMAL.replace(b"intfloat/", b"first/")


async def until(asked: Any, wanted: Any) -> None:
    """Ask until the answer is as wanted, for 5 seconds at most."""
    with trio.fail_after(5):
        while await asked() != wanted:
            await trio.sleep(0.01)


async def readiness(client: httpx.AsyncClient, body: bytes) -> int:
    return (await client.post(f"{MODELS}?dry_run=true", content=body)).status_code


@pytest.fixture
async def connected(nats: NatsServer, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A service on NATS that has reached it."""
    async with service(nats_url=nats.url, store_dir=str(tmp_path / "store"), restore=True) as client:
        await until(partial(post, client, KNOWN), 201)
        yield client


async def post(client: httpx.AsyncClient, body: bytes) -> int:
    return (await client.post(MODELS, content=body)).status_code


async def test_a_change_is_published_on_both_documented_subjects(
    nats: NatsServer, connected: httpx.AsyncClient
) -> None:
    async with Stranger(nats) as subscriber:
        await subscriber.listen("sie.config.models.>")
        reply = await connected.post(MODELS, content=FIRST)
        heard = [await subscriber.hear() for _ in range(2)]
    assert reply.status_code == 201
    assert [subject for subject, *_ in heard] == ["sie.config.models.default", "sie.config.models._all"]
    for_bundle, for_all = (json.loads(content) for *_, content in heard)
    assert for_bundle["model_id"] == for_all["model_id"] == PAGE_ID
    assert for_bundle["profiles_added"] == ["default"]
    assert for_bundle["router_id"] == reply.json()["router_id"]
    assert for_bundle["epoch"] == reply.json()["config_revision"]
    assert yaml.safe_load(for_bundle["model_config"])["profiles"]["default"]["max_batch_tokens"] == 8192
    assert for_all["affected_bundles"] == ["default"]
    listed = [one["model_id"] for one in (await connected.get(MODELS)).json()["models"]]
    models = [read_model((await connected.get(f"{MODELS}/{one}")).content, name=one) for one in listed]
    assert for_bundle["bundle_config_hash"] == bundle_config_hash(models)


async def test_while_nats_is_away_posts_are_503_and_everything_else_goes_on(
    nats: NatsServer, connected: httpx.AsyncClient
) -> None:
    nats.kill()
    await until(partial(post, connected, KNOWN), 503)
    refused = await connected.post(MODELS, content=b"this is not even looked at: [")
    assert (refused.status_code, refused.json()["error"]) == (503, "nats_unavailable")
    assert PAGE_ID not in (await connected.get(MODELS)).text
    assert await readiness(connected, FIRST) == 201  # a rehearsal needs no bus
    assert (await connected.get("/readyz")).status_code == 200
    assert (await connected.get("/v1/models")).status_code == 200
    nats.start()
    await until(partial(post, connected, FIRST), 201)


async def test_a_service_starts_without_nats_and_takes_changes_once_it_is_there(nats: NatsServer) -> None:
    nats.kill()
    async with service(nats_url=nats.url) as client:
        assert await post(client, FIRST) == 503
        nats.start()
        await until(partial(post, client, FIRST), 201)


async def test_another_router_hears_of_a_change_and_reads_it_from_the_store(nats: NatsServer, tmp_path: Path) -> None:
    """Without the bus it would look after SIE_CONFIG_RECONCILE_S, which is far away here."""
    settings = {"nats_url": nats.url, "store_dir": str(tmp_path), "restore": True, "reconcile_s": 1000.0}
    async with service(**settings) as one, service(**settings) as other:
        await until(partial(post, one, MINIMAL), 201)
        await until(partial(profiles, other), ["default"])
        await until(partial(post, other, APPEND), 201)
        await until(partial(profiles, one), ["default", "medical"])
        confirmed = await one.post(MODELS, content=APPEND)
        assert (confirmed.status_code, confirmed.json()["worker_ack_pending"]) == (200, False)


async def test_what_was_written_while_a_router_was_off_the_bus_is_found_at_the_next_look(
    nats: NatsServer, tmp_path: Path
) -> None:
    stored = {"store_dir": str(tmp_path), "restore": True}
    async with service(**stored, nats_url=nats.url, reconcile_s=0.2) as router, service(**stored) as silent:
        assert await post(silent, MINIMAL) == 201  # no NATS there: nobody is told
        await until(partial(profiles, router), ["default"])


async def profiles(client: httpx.AsyncClient) -> list[str]:
    found = await client.get(f"{MODELS}/{PAGE_ID}")
    return list(yaml.safe_load(found.text)["profiles"]) if found.status_code == 200 else []
