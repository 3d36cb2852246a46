"""The Config API from outside, over HTTP: the documented page, sentence by sentence."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from tests.api.conftest import service
from tests.pages import APPEND, FIRST, FULL, MINIMAL, PAGE_ID

MODELS = "/v1/configs/models"
BUILT_IN = "sentence-transformers/all-MiniLM-L6-v2"


async def post(client: httpx.AsyncClient, body: bytes | str, **headers: str) -> httpx.Response:
    return await client.post(MODELS, content=body, headers={"Content-Type": "application/x-yaml", **headers})


async def test_the_first_example_is_answered_as_documented(client: httpx.AsyncClient) -> None:
    reply = await post(client, FIRST)
    assert reply.status_code == 201
    body = reply.json()
    router = body.pop("router_id")
    assert isinstance(router, str)
    assert router
    assert str(body.pop("config_revision")) == reply.headers["X-SIE-Config-Revision"]
    assert body == {
        "model_id": PAGE_ID,
        "created_profiles": ["default"],
        "existing_profiles_skipped": [],
        "warnings": [],
        "routable_bundles_by_profile": {"default": ["default"]},
        "worker_ack_pending": False,
        "eligible_bundles_count": 1,
        "eligible_bundles_with_workers_count": 1,
        "acked_workers": 1,
        "total_eligible": 1,
        "pending_workers": 0,
    }


async def test_posting_the_same_again_is_200_with_the_same_keys(client: httpx.AsyncClient) -> None:
    first = await post(client, FIRST)
    again = await post(client, FIRST)
    assert again.status_code == 200
    assert again.json().keys() == first.json().keys()
    assert again.json()["created_profiles"] == []
    assert again.json()["existing_profiles_skipped"] == ["default"]
    assert again.json()["worker_ack_pending"] is False
    assert again.json()["acked_workers"] == 1


async def test_the_append_example_after_the_minimal_one_creates_only_the_new_profile(client: httpx.AsyncClient) -> None:
    assert (await post(client, MINIMAL)).status_code == 201
    reply = await post(client, APPEND)
    assert reply.status_code == 201
    assert reply.json()["created_profiles"] == ["medical"]
    assert reply.json()["existing_profiles_skipped"] == ["default"]
    assert reply.json()["routable_bundles_by_profile"] == {"medical": ["default"]}


async def test_another_content_for_an_existing_profile_is_409_and_creates_nothing(client: httpx.AsyncClient) -> None:
    await post(client, FIRST)
    reply = await post(client, APPEND)  # repeats default without its options, and brings a new profile
    assert reply.status_code == 409
    body = reply.json()
    assert body["error"] == "content_conflict"
    assert body["conflicting_profiles"] == ["default"]
    listed = (await client.get(MODELS)).json()["models"]
    assert {"model_id": PAGE_ID, "profiles": ["default"], "source": "api"} in listed


async def test_a_top_level_field_may_come_later_and_may_not_differ(client: httpx.AsyncClient) -> None:
    await post(client, MINIMAL)
    later = await post(client, MINIMAL + b"hf_id: intfloat/multilingual-e5-base\n")
    assert later.status_code == 200
    stored = yaml.safe_load((await client.get(f"{MODELS}/{PAGE_ID}")).text)
    assert stored["hf_id"] == PAGE_ID
    differing = await post(client, MINIMAL + b"hf_id: someone/else\n")
    assert differing.status_code == 409
    assert differing.json()["conflicting_fields"] == ["hf_id"]
    assert differing.json()["conflicting_profiles"] == []


async def test_a_model_is_listed_with_its_source_and_read_back_whole(client: httpx.AsyncClient) -> None:
    await post(client, FULL)
    listed = {one["model_id"]: one for one in (await client.get(MODELS)).json()["models"]}
    assert listed[PAGE_ID] == {"model_id": PAGE_ID, "profiles": ["default", "financial"], "source": "api"}
    assert listed[BUILT_IN]["source"] == "filesystem"
    reply = await client.get(f"{MODELS}/{PAGE_ID}")
    assert reply.headers["Content-Type"] == "application/x-yaml"
    read = yaml.safe_load(reply.text)
    assert read["tasks"] == {"encode": {"dense": {"dim": 768}}}
    assert read["profiles"]["financial"]["adapter_options"]["runtime"]["instruction"] == "Retrieve financial documents"
    again = await post(client, reply.content)
    assert again.status_code == 200  # what is read back is what was posted


async def test_a_filesystem_model_is_read_back_whole_and_keeps_all_of_it_when_profiles_are_added(
    client: httpx.AsyncClient,
) -> None:
    before = yaml.safe_load((await client.get(f"{MODELS}/{BUILT_IN}")).text)
    assert before["profiles"]["default"]["adapter_path"].startswith("sie_server.adapters.")
    reply = await post(client, f"sie_id: {BUILT_IN}\nprofiles:\n  legal:\n    extends: default\n")
    assert reply.status_code == 201
    assert reply.json()["created_profiles"] == ["legal"]
    after = yaml.safe_load((await client.get(f"{MODELS}/{BUILT_IN}")).text)
    assert after == {**before, "profiles": {**before["profiles"], "legal": {"extends": "default"}}}
    listed = {one["model_id"]: one["source"] for one in (await client.get(MODELS)).json()["models"]}
    assert listed[BUILT_IN] == "filesystem"


async def test_a_rehearsal_answers_as_if_and_changes_nothing(client: httpx.AsyncClient) -> None:
    before = (await client.get(MODELS)).content
    reply = await client.post(f"{MODELS}?dry_run=true", content=FIRST)
    assert reply.status_code == 201
    assert reply.json()["created_profiles"] == ["default"]
    assert (await client.get(MODELS)).content == before
    assert (await post(client, FIRST)).status_code == 201
    conflicting = await client.post(f"{MODELS}?dry_run=true", content=APPEND)
    assert conflicting.status_code == 409


async def test_bundles_are_listed_and_shown(client: httpx.AsyncClient) -> None:
    bundle, other = (await client.get("/v1/configs/bundles")).json()["bundles"]
    shown = await client.get("/v1/configs/bundles/default")
    assert shown.headers["Content-Type"] == "application/x-yaml"
    read = yaml.safe_load(shown.text)
    assert bundle == {
        "bundle_id": "default",
        "priority": 10,
        "adapter_count": len(read["adapters"]),
        "source": "filesystem",
        "connected_workers": 1,
    }
    assert (other["bundle_id"], other["priority"], other["connected_workers"]) == ("sglang", 20, 1)
    missing = await client.get("/v1/configs/bundles/nope")
    assert (missing.status_code, missing.json()["error"]) == (404, "bundle_not_found")


@pytest.mark.parametrize(
    ("asked", "bundle"),
    [(BUILT_IN, "default"), (f"default:/{BUILT_IN}", "default"), (f"Default:/{BUILT_IN.upper()}", "default")],
)
async def test_a_spec_resolves_to_its_bundle(client: httpx.AsyncClient, asked: str, bundle: str) -> None:
    reply = await client.post("/v1/configs/resolve", json={"model": asked})
    assert reply.status_code == 200
    assert reply.json() == {
        "model": BUILT_IN,
        "resolved_bundle": bundle,
        "compatible_bundles": ["default"],
        "profiles": ["default"],
    }


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        ({"model": "no/such"}, 404, "model_not_found"),
        ({"model": f"other:/{BUILT_IN}"}, 409, "bundle_conflict"),
        ({"model": BUILT_IN, "bundle": "other"}, 409, "bundle_conflict"),
        ({"model": ":/x"}, 400, "invalid_model_spec"),
        ({}, 400, "missing_field"),
        ([], 400, "parse_error"),
    ],
)
async def test_a_spec_that_leads_nowhere_is_refused(
    client: httpx.AsyncClient, asked: object, status: int, error: str
) -> None:
    reply = await client.post("/v1/configs/resolve", json=asked)
    assert (reply.status_code, reply.json()["error"]) == (status, error)


async def test_an_idempotency_key_repeats_the_first_answer(client: httpx.AsyncClient) -> None:
    first = await post(client, FIRST, **{"Idempotency-Key": "one"})
    again = await post(client, FIRST, **{"Idempotency-Key": "one"})
    assert again.status_code == 201
    assert again.json() == first.json()
    other = await post(client, MINIMAL, **{"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_mismatch")
    unchanged = await post(client, FIRST, **{"Idempotency-Key": "two"})
    assert unchanged.status_code == 200
    repeated = await post(client, FIRST, **{"Idempotency-Key": "two"})
    assert (repeated.status_code, repeated.json()) == (200, unchanged.json())


async def test_errors_and_rehearsals_leave_no_key_behind(client: httpx.AsyncClient) -> None:
    refused = await post(client, b"sie_id: a/b\nprofiles: {}\n", **{"Idempotency-Key": "one"})
    assert refused.status_code == 422
    await client.post(f"{MODELS}?dry_run=true", content=MINIMAL, headers={"Idempotency-Key": "one"})
    assert (await post(client, FIRST, **{"Idempotency-Key": "one"})).status_code == 201


async def test_an_accepted_model_and_its_key_survive_a_restart_with_a_store(tmp_path: Path) -> None:
    settings = {"store_dir": str(tmp_path / "store"), "restore": True}
    async with service(**settings) as client:
        first = await post(client, FIRST, **{"Idempotency-Key": "one"})
        assert first.json()["config_revision"] == 1
    async with service(**settings) as client:
        listed = (await client.get(MODELS)).json()["models"]
        assert {"model_id": PAGE_ID, "profiles": ["default"], "source": "api"} in listed
        again = await post(client, FIRST, **{"Idempotency-Key": "one"})
        assert (again.status_code, again.json()["created_profiles"]) == (201, ["default"])
        assert again.json()["config_revision"] == 1
        assert again.json()["worker_ack_pending"] is False


async def test_without_restore_the_store_is_read_by_the_first_post(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    async with service(store_dir=store) as client:
        await post(client, FIRST)
    async with service(store_dir=store) as client:
        assert PAGE_ID not in (await client.get(MODELS)).text
        assert (await post(client, FIRST)).status_code == 200
        assert PAGE_ID in (await client.get(MODELS)).text
        assert (await post(client, FIRST)).json()["worker_ack_pending"] is False


async def test_a_store_that_cannot_be_used_is_503_and_inference_goes_on(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a directory")
    async with service(store_dir=str(in_the_way / "store")) as client:
        reply = await post(client, FIRST)
        assert (reply.status_code, reply.json()["error"]) == (503, "config_store_unavailable")
        assert PAGE_ID not in (await client.get(MODELS)).text
        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert str(in_the_way) in readiness.text
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 200
        in_the_way.unlink()
        assert (await post(client, FIRST)).status_code == 201


# The client leaves its own generators behind when an endless answer is left.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_every_change_is_streamed_to_whoever_watches(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/v1/configs/watch") as stream:
        assert stream.status_code == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        posted = (await post(client, FIRST)).json()
        async for line in stream.aiter_lines():
            if line.startswith("data:") and PAGE_ID in line:
                break
    assert f":{posted['config_revision']}" in (await resumed(client, posted["config_revision"] - 1))
    gone = await client.get("/v1/configs/watch?since=99999999999999")
    assert (gone.status_code, gone.json()["head"]) == (410, posted["config_revision"])


async def resumed(client: httpx.AsyncClient, since: int) -> str:
    """The id of the first entry after `since`."""
    async with client.stream("GET", f"/v1/configs/watch?since={since}") as stream:
        found = ""
        async for line in stream.aiter_lines():
            if line.startswith("id:"):
                found = line
            if line.startswith("data:") and PAGE_ID in line:
                return found
    return found


READS = [("GET", MODELS), ("GET", "/v1/configs/bundles"), ("GET", "/v1/models"), ("GET", f"{MODELS}/{BUILT_IN}")]


@pytest.mark.parametrize(
    ("auth", "admin", "sent", "read", "write"),
    [
        (None, None, None, 200, 422),
        ("reader", "admin", None, 401, 401),
        ("reader", "admin", "wrong", 401, 401),
        ("reader", "admin", "reader", 200, 403),
        ("reader", "admin", "admin", 200, 422),
        ("reader", None, "reader", 200, 403),
        ("reader", None, None, 401, 401),
        (None, "admin", "admin", 200, 422),
        (None, "admin", None, 401, 401),
    ],
)
async def test_who_may_do_what(auth: str | None, admin: str | None, sent: str | None, read: int, write: int) -> None:
    headers = {"Authorization": f"Bearer {sent}"} if sent else {}
    async with service(auth_token=auth, admin_token=admin) as client:
        for method, path in READS:
            assert (await client.request(method, path, headers=headers)).status_code == read, path
        resolved = await client.post("/v1/configs/resolve", json={"model": BUILT_IN}, headers=headers)
        assert resolved.status_code == read
        # An empty mapping is refused by content only once the token has been let through.
        for path in (MODELS, f"{MODELS}?dry_run=true"):
            assert (await client.post(path, content=b"{}", headers=headers)).status_code == write, path
        for path in ("/", "/healthz", "/readyz", "/health", "/metrics"):
            assert (await client.get(path)).status_code == 200, path
        inference = await client.post("/v1/encode/no/such", json={"items": [{"text": "a"}]}, headers=headers)
        assert inference.status_code == (404 if read == 200 else 401)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("DELETE", MODELS, 405, "method_not_allowed"),
        ("PUT", f"{MODELS}/a/b", 405, "method_not_allowed"),
        ("POST", "/v1/configs/bundles", 405, "method_not_allowed"),
        ("GET", "/v1/configs/nothing", 404, "not_found"),
        ("GET", f"{MODELS}/no/such", 404, "model_not_found"),
    ],
)
async def test_what_is_not_there_says_so(
    client: httpx.AsyncClient, method: str, path: str, status: int, error: str
) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, reply.json()["error"]) == (status, error)
    assert reply.headers["X-SIE-Error-Code"]


@pytest.mark.parametrize("query", ["dry_run", "DRY_RUN=true", "dry_run=yes&dry_run=1"])
async def test_whoever_writes_dry_run_in_any_way_changes_nothing(client: httpx.AsyncClient, query: str) -> None:
    reply = await client.post(f"{MODELS}?{query}", content=FIRST)
    assert (reply.status_code, reply.json()["dry_run"]) == (201, True)
    assert (await client.get(f"{MODELS}/{PAGE_ID}")).status_code == 404


@pytest.mark.parametrize("query", ["dry_run=false&dry_run=true", "dry_run=maybe", "Dry_Run=0&dry_run=1"])
async def test_who_contradicts_himself_about_a_rehearsal_is_refused(client: httpx.AsyncClient, query: str) -> None:
    reply = await client.post(f"{MODELS}?{query}", content=FIRST)
    assert (reply.status_code, reply.json()["error"]) == (422, "validation_error")
    assert (await client.get(f"{MODELS}/{PAGE_ID}")).status_code == 404


async def test_profiles_are_listed_by_name(client: httpx.AsyncClient) -> None:
    for names in (("z", "default"), ("a",)):
        dense = "{adapter_path: sie.worker.adapters.dense:DenseAdapter}"
        profiles = "".join(f"  {name}: {dense if name == 'default' else '{extends: default}'}\n" for name in names)
        assert (await post(client, f"sie_id: m/x\nprofiles:\n{profiles}")).status_code == 201
    listed = (await client.get(MODELS)).json()["models"]
    assert next(one["profiles"] for one in listed if one["model_id"] == "m/x") == ["a", "default", "z"]


async def test_inference_waits_for_the_revision_it_asks_for_as_behind_a_router() -> None:
    async with service(min_revision_s=0.05) as client:
        path, asked = f"/v1/encode/{BUILT_IN}", {"items": [{"text": "a"}]}
        behind = await client.post(path, json=asked, headers={"X-SIE-Min-Revision": "9" * 18})
        assert (behind.status_code, behind.json()["detail"]["code"]) == (503, "CONFIG_BEHIND")
        wrong = await client.post(path, json=asked, headers={"X-SIE-Min-Revision": "newest"})
        assert (wrong.status_code, wrong.json()["detail"]["code"]) == (400, "INVALID_INPUT")
