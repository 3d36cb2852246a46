"""A store directory that goes away, comes back or becomes another one while the service runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import trio

from tests.api.conftest import service
from tests.pages import FIRST, MINIMAL, PAGE_ID

MODELS = "/v1/configs/models"


def named(name: str) -> bytes:
    return MINIMAL.replace(PAGE_ID.encode(), name.encode())


async def ready(client: httpx.AsyncClient, status: int) -> str:
    """What `/readyz` says once its status is this."""
    with trio.fail_after(10):
        while True:
            reply = await client.get("/readyz")
            if reply.status_code == status:
                return reply.text
            await trio.sleep(0.01)


async def test_a_directory_that_vanishes_and_returns_costs_nothing_that_was_accepted(tmp_path: Path) -> None:
    store, away = tmp_path / "store", tmp_path / "away"
    async with service(store_dir=str(store), restore=True, store_retry_s=0.05) as client:
        assert (await client.post(MODELS, content=FIRST)).status_code == 201
        store.rename(away)
        refused = await client.post(MODELS, content=named("a/b"))
        assert (refused.status_code, refused.json()["error"]) == (503, "config_store_unavailable")
        assert "outcome" not in refused.json()
        assert str(store) in await ready(client, 503)
        assert PAGE_ID in (await client.get(MODELS)).text
        away.rename(store)
        await ready(client, 200)
        assert (await client.post(MODELS, content=named("a/b"))).json()["config_revision"] == 2


async def test_another_store_in_its_place_is_never_read_into_this_one_but_in_its_stead(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with service(store_dir=str(store), restore=True, store_retry_s=0.05) as client:
        await client.post(MODELS, content=FIRST)
        shutil.rmtree(store)
        async with service(store_dir=str(store)) as other:
            for name in ("other/one", "other/two"):
                assert (await other.post(MODELS, content=named(name))).status_code == 201
        added = await client.post(MODELS, content=named("a/b"))
        assert (added.status_code, added.json()["config_revision"]) == (201, 3)
        listed = [one["model_id"] for one in (await client.get(MODELS)).json()["models"] if one["source"] == "api"]
        assert listed == ["a/b", "other/one", "other/two"]
        await ready(client, 200)


async def test_without_restore_a_store_that_cannot_be_read_is_not_called_ready(tmp_path: Path) -> None:
    """A POST has found the log torn: that stays said until somebody mends it."""
    store = tmp_path / "store"
    async with service(store_dir=str(store)) as client:
        await client.post(MODELS, content=FIRST)
    entry = store / "log" / "0000000001.json"
    whole = entry.read_bytes()
    entry.write_bytes(whole[:40])
    async with service(store_dir=str(store), store_retry_s=0.02) as client:
        await ready(client, 200)  # nothing has looked into the log yet
        refused = await client.post(MODELS, content=named("a/b"))
        assert (refused.status_code, refused.json()["error"]) == (503, "config_store_unavailable")
        for _ in range(10):
            assert entry.name in (await client.get("/readyz")).text
            await trio.sleep(0.02)
        entry.write_bytes(whole)
        await ready(client, 200)
        assert (await client.post(MODELS, content=named("a/b"))).json()["config_revision"] == 2


async def test_what_a_store_may_hold_that_was_not_read_yet_is_not_called_absent(tmp_path: Path) -> None:
    """A 404 is for good, and nobody asks again after it."""
    store = tmp_path / "volume" / "store"
    async with service(store_dir=str(store)) as client:
        await client.post(MODELS, content=FIRST)
    away = tmp_path / "away"
    store.parent.rename(away)
    store.parent.write_bytes(b"not a directory yet")
    asked = {"model": PAGE_ID}
    async with service(store_dir=str(store), restore=True, store_retry_s=0.02) as client:
        await ready(client, 503)
        listed = (await client.get(MODELS)).json()["models"]
        assert [one["source"] for one in listed] == ["filesystem"]
        assert (await client.get(f"{MODELS}/{listed[0]['model_id']}")).status_code == 200
        shown = await client.get(f"{MODELS}/{PAGE_ID}")
        assert (shown.status_code, shown.json()["error"]) == (503, "config_store_unavailable")
        assert int(shown.headers["Retry-After"]) >= 1
        assert (await client.post("/v1/configs/resolve", json=asked)).status_code == 503
        encoded = await client.post(f"/v1/encode/{PAGE_ID}", json={"items": [{"text": "a"}]})
        assert (encoded.status_code, encoded.json()["detail"]["code"]) == (503, "CONFIG_STORE_UNAVAILABLE")
        store.parent.unlink()
        away.rename(store.parent)
        await ready(client, 200)
        assert (await client.get(f"{MODELS}/{PAGE_ID}")).status_code == 200
        assert (await client.get(f"{MODELS}/no/such")).status_code == 404
