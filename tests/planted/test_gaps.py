"""What no other test saw until it was planted."""

from __future__ import annotations

from pathlib import Path

import pytest

import sie
from sie.catalog.bundle import Bundle
from sie.catalog.catalog import Catalog
from sie.catalog.spec import parse_spec, route
from sie.worker.process import open_worker
from tests.catalog.made import DENSE, catalog, entry
from tests.pages import APPEND, MINIMAL

PROFILES = {"default": {"adapter_path": DENSE}}


@pytest.mark.parametrize("name", ["GPU:/org/model", "gpu:/org/model"])
def test_a_bundle_with_capitals_in_its_own_name_is_found_before_a_model(name: str) -> None:
    made = Catalog([Bundle(bundle_id="GPU", adapters=("sie_server.adapters.sentence_transformer",))])
    made.apply(entry("org/model", 1, profiles=PROFILES))
    assert route(made, parse_spec(name)).bundle == "GPU"


def test_of_ids_that_differ_in_case_each_is_found_by_its_own_and_the_first_by_any_other() -> None:
    """No POST makes two of them, but routers that share no store may."""
    made = catalog()
    for revision, name in enumerate(("org/model", "Org/Model", "ORG/model"), start=1):
        made.apply(entry(name, revision, profiles=PROFILES))
    asked = ("org/model", "Org/Model", "ORG/model", "ORG/MODEL")
    found = [model.sie_id for one in asked if (model := made.find(one)) is not None]
    assert found == ["org/model", "Org/Model", "ORG/model", "ORG/model"]


@pytest.mark.parametrize("epoch", ["1\n", "0", "", "garbage", "-1"])
async def test_changes_are_taken_whatever_an_older_release_left_for_its_epoch(tmp_path: Path, epoch: str) -> None:
    (tmp_path / "epoch").write_text(epoch)
    async with sie.open_engine(sie.Settings(store_dir=str(tmp_path), restore=True)) as engine:
        for body, created in ((MINIMAL, "default"), (APPEND, "medical")):
            assert (await engine.add_model(body))["created_profiles"] == [created]
    assert (tmp_path / "epoch").read_text() == epoch


async def test_a_worker_is_told_its_bundle_in_any_case() -> None:
    async with open_worker(sie.Settings(bundle="Default")) as process:
        assert process.worker.bundle == "default"
