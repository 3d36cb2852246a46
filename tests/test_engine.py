"""The engine inside a Trio program, without HTTP; and what one crash does, and does not."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import trio

import sie
from sie.errors import ConfigurationError, ContentConflict, ModelLoading, ModelNotFound, StoreCorrupt
from sie.flow import keep_bundle_current
from sie.router.fleet import Needed
from sie.worker import worker as worker_module
from tests.pages import APPEND, FIRST, PAGE_ID

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
ADDED = {"sie_id": "demo/minilm", "hf_id": MODEL, "profiles": {"default": {"adapter_path": ADAPTER}}}


async def test_a_model_is_added_and_used_in_six_lines() -> None:
    async with sie.open_engine(sie.Settings()) as engine:
        answer = await engine.add_model(ADDED)
        assert answer["acked_workers"] == 1
        encoded = await engine.encode("demo/minilm", ["a cat", "a kitten", "revenue"])
        one, two, three = (item.dense.values for item in encoded.items if item.dense is not None)
        assert one @ two > one @ three
        scored = await engine.score("demo/minilm", "a cat", ["revenue", "a kitten"])
        assert [one.item_id for one in scored.scores] == ["item-1", "item-0"]
        await engine.add_model({**ADDED, "sie_id": "demo/twin"})
        loaded = {model.name for model in engine.models() if model.loaded}
        assert loaded == {"demo/minilm", "demo/twin"}  # the same weights and settings are loaded once
        worker, other = engine.workers()
        assert (worker.bundle, set(worker.loaded_models)) == ("default", loaded)
        assert worker.memory_used_bytes > 0
        assert (other.bundle, list(other.loaded_models), other.gpu_count) == ("sglang", [], 0)
        np.testing.assert_allclose(np.linalg.norm(one), 1, atol=1e-5)


async def test_errors_are_raised_as_they_are() -> None:
    async with sie.open_engine(sie.Settings()) as engine:
        await engine.add_model(FIRST)
        with pytest.raises(ContentConflict):
            await engine.add_model(APPEND)
        with pytest.raises(ModelNotFound):
            await engine.encode("no/such", "text")
        with pytest.raises(ModelLoading):
            await engine.encode(MODEL, "text", wait_s=0)


async def test_what_the_block_raises_leaves_it_unwrapped() -> None:
    with pytest.raises(LookupError) as raised:
        async with sie.open_engine(sie.Settings()):
            raise LookupError("mine")
    assert str(raised.value) == "mine"


async def test_a_start_that_fails_raises_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "0000000001.json").write_text("{}")
    with pytest.raises(StoreCorrupt) as raised:
        async with sie.open_engine(sie.Settings(store_dir=str(tmp_path), restore=True)):
            pass
    assert "0000000001.json" in str(raised.value) or "id" in str(raised.value)
    with pytest.raises(ConfigurationError):
        async with sie.open_engine(sie.Settings(bundles=("nope",))):
            pass


async def test_serving_inside_a_nursery_gives_the_address_and_ends_with_it(nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as inner:
        address = await inner.start(sie.serve, sie.Settings(port=0))
        async with httpx.AsyncClient(base_url=address) as client:
            assert (await client.get("/healthz")).text == "ok"
        inner.cancel_scope.cancel(reason="enough served")


async def test_a_broken_model_file_is_named_and_costs_itself_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.yaml").write_text(
        f"sie_id: a/good\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
    )
    (tmp_path / "unknown.yaml").write_text(
        "sie_id: a/unknown\nprofiles:\n  default:\n    adapter_path: sie_server.adapters.gliner:GLiNERAdapter\n"
    )
    (tmp_path / "broken.yaml").write_text("sie_id: [")
    with caplog.at_level(logging.ERROR, logger="sie"):
        async with sie.open_engine(sie.Settings(models_dir=tmp_path)) as engine:
            assert [one.name for one in engine.models()] == ["a/good", "a/unknown"]
            assert [list(one.bundles) for one in engine.models()] == [["default"], []]
            with pytest.raises(ModelNotFound) as refused:
                await engine.encode("a/unknown", "text")
            assert "gliner" in str(refused.value)
    assert "broken.yaml" in caplog.text


TWO_BUNDLES = {
    "one.yaml": "name: one\npriority: 1\nadapters: [sie_server.adapters.sentence_transformer]\n",
    "two.yaml": "name: two\npriority: 2\nadapters: [sie_server.adapters.bert_flash]\n",
}


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    folder = tmp_path / "bundles"
    folder.mkdir()
    for name, text in TWO_BUNDLES.items():
        (folder / name).write_text(text)
    return folder


async def test_profiles_of_one_model_may_live_in_two_bundles(bundles: Path) -> None:
    document = (
        f"sie_id: a/b\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
        "  flash:\n    adapter_path: sie_server.adapters.bert_flash:BertFlashAdapter\n"
    )
    async with sie.open_engine(sie.Settings(bundles_dir=bundles)) as engine:
        answer = await engine.add_model(document)
        assert answer["routable_bundles_by_profile"] == {"default": ["one"], "flash": ["two"]}
        assert (answer["eligible_bundles_count"], answer["acked_workers"], answer["total_eligible"]) == (2, 2, 2)
        assert answer["worker_ack_pending"] is False
        for name in ("a/b", "two:/a/b:flash"):
            assert len((await engine.encode(name, "text")).items) == 1
        rehearsed = await engine.add_model(document.replace("a/b", "c/d"), dry_run=True)
        assert rehearsed["dry_run"] is True
        assert rehearsed["acked_workers"] == 0


async def test_a_model_that_joins_a_second_bundle_later_is_whole_there(bundles: Path) -> None:
    document = f"sie_id: a/b\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
    async with sie.open_engine(sie.Settings(bundles_dir=bundles)) as engine:
        await engine.add_model(document.replace("a/b", "other/model"))
        await engine.add_model(document)
        joined = await engine.add_model(
            document + "  flash:\n    adapter_path: sie_server.adapters.bert_flash:BertFlashAdapter\n"
        )
        assert (joined["created_profiles"], joined["acked_workers"]) == (["flash"], 2)
        assert len((await engine.encode("two:/a/b:flash", "text")).items) == 1
        digests = {one.bundle: one.digest for one in engine.workers()}
        assert digests == {name: engine.head.catalog.digest(name) for name in ("one", "two")}


def needed_by(engine: sie.Engine) -> Needed:
    return Needed(
        revisions={engine.head.store_id: engine.head.revision}, model="a/b", profiles=(), bundles=("one", "two")
    )


async def test_one_crashed_bundle_is_nobody_elses(
    bundles: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bundle whose follower crashes is started again and catches up; meanwhile the other confirms."""
    crashes = iter([True])
    real = keep_bundle_current

    async def crash_once(hints: object, *, bundle: object, catch_up: object, report: object) -> None:
        async def watched() -> object:
            async for hint in hints:  # type: ignore[attr-defined]
                if bundle.name == "two" and next(crashes, False):  # type: ignore[attr-defined]
                    raise RuntimeError("a fault of ours")
                yield hint

        await real(watched(), bundle=bundle, catch_up=catch_up, report=report)  # type: ignore[arg-type]

    monkeypatch.setattr(worker_module, "keep_bundle_current", crash_once)
    document = (
        f"sie_id: a/b\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
        "  flash:\n    adapter_path: sie_server.adapters.bert_flash:BertFlashAdapter\n"
    )
    async with sie.open_engine(sie.Settings(bundles_dir=bundles)) as engine:
        first = await engine.add_model(document)
        assert first["created_profiles"] == ["default", "flash"]
        with trio.fail_after(10):
            await engine.fleet.wait_acked(needed_by(engine), linger_s=math.inf)
    assert "bundle two crashed" in caplog.text
    assert "bundle one crashed" not in caplog.text


LEGACY = {
    "models/intfloat__multilingual-e5-base.yaml": FIRST.decode(),
    # That release accepted adapters nothing could run, and documents only its own lenient reader understood.
    "models/old__unroutable.yaml": "sie_id: old/unroutable\nprofiles:\n  default:\n    adapter_path: gone.from:Here\n",
    "models/old__broken.yaml": "sie_id: old/broken\nprofiles: [",
    "epoch": "7",
}


async def test_a_store_of_v0_1_10_is_taken_over_once_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name, text in LEGACY.items():
        (tmp_path / name).write_text(text)
    settings = sie.Settings(store_dir=str(tmp_path), restore=True)
    async with sie.open_engine(settings) as engine:
        assert {"old/unroutable", PAGE_ID} <= {one.name for one in engine.models()}
        assert engine.head.catalog.imported_epoch == 7
        imported = engine.head.revision
        assert (await engine.add_model(FIRST))["created_profiles"] == []
    async with sie.open_engine(settings) as engine:
        assert engine.head.revision == imported
        assert engine.head.catalog.imported_epoch == 7
    assert {name: (tmp_path / name).read_text() for name in LEGACY} == LEGACY


async def test_a_start_reads_a_snapshot_and_the_tail(tmp_path: Path) -> None:
    settings = sie.Settings(store_dir=str(tmp_path), restore=True, snapshot_every=10)
    async with sie.open_engine(settings) as engine:
        for number in range(25):
            await engine.add_model({**ADDED, "sie_id": f"demo/model-{number}"}, key=f"key-{number}")
        digest = engine.head.catalog.digest("default")
    assert len(list((tmp_path / "snapshot").iterdir())) == 2
    (tmp_path / "log" / "0000000003.json").write_bytes(b"not read: the snapshot has it")
    async with sie.open_engine(settings) as engine:
        assert engine.head.catalog.digest("default") == digest
        assert (engine.head.revision, len(engine.models())) == (25, 26)
        again = await engine.add_model({**ADDED, "sie_id": "demo/model-2"}, key="key-2")
        assert again["created_profiles"] == ["default"]


async def test_any_number_of_adders_at_once(tmp_path: Path) -> None:
    async with sie.open_engine(sie.Settings(store_dir=str(tmp_path))) as engine:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(partial(engine.add_model, {**ADDED, "sie_id": f"demo/model-{number}"}))
        assert engine.head.revision == 50
        assert len(engine.models()) == 51


@pytest.mark.parametrize("afterwards", ["changed", "removed"])
async def test_a_filesystem_model_that_was_appended_to_stays_as_it_was_whatever_becomes_of_its_file(
    tmp_path: Path, afterwards: str
) -> None:
    """The first append copied the file's content into the log, and from then on the log is what holds."""
    files = tmp_path / "models"
    files.mkdir()
    file = files / "one.yaml"
    text = f"sie_id: a/file\nhf_id: {MODEL}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n"
    file.write_text(text)
    settings = sie.Settings(models_dir=files, store_dir=str(tmp_path / "store"), restore=True)
    append = {"sie_id": "a/file", "profiles": {"more": {"extends": "default"}}}
    async with sie.open_engine(settings) as engine:
        assert (await engine.add_model(append))["created_profiles"] == ["more"]
        before = engine.head.catalog.find("a/file")
        assert before is not None
    if afterwards == "changed":
        file.write_text(text + "    max_batch_tokens: 5\n")
    else:
        file.unlink()
    async with sie.open_engine(settings) as engine:
        after = engine.head.catalog.find("a/file")
        assert after is not None
        assert (after.document, after.source) == (before.document, "filesystem")
        assert len((await engine.encode("a/file:more", "text")).items) == 1
        assert (await engine.add_model(append))["acked_workers"] == 1


async def test_a_model_that_no_bundle_can_run_is_never_called_confirmed(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "sie_id: a/unknown\nprofiles:\n  default:\n    adapter_path: sie_server.adapters.gliner:GLiNERAdapter\n"
    )
    async with sie.open_engine(sie.Settings(models_dir=tmp_path)) as engine:
        answer = await engine.add_model((tmp_path / "one.yaml").read_text())
    assert (answer["eligible_bundles_count"], answer["worker_ack_pending"]) == (0, True)
    assert answer["warnings"] == ["no_eligible_workers_connected"]


async def test_a_rehearsal_under_a_key_that_was_used_says_that_it_is_one() -> None:
    async with sie.open_engine(sie.Settings()) as engine:
        await engine.add_model(FIRST, key="k")
        answer = await engine.add_model(FIRST, key="k", dry_run=True)
        assert (answer["created_profiles"], answer["dry_run"]) == (["default"], True)
