"""Files: the built-in catalog, a directory of SIE's shipped models, and what is broken said by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sie.catalog.adapters import ADAPTERS, find_adapter
from sie.catalog.document import write_document
from sie.errors import ConfigurationError
from sie.files import load_catalog, read_bundles, read_models
from sie.settings import Settings
from tests.catalog.made import DENSE
from tests.catalog.shipped_models import shipped_models

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def test_the_built_in_bundles_list_each_module_of_the_adapter_table_once() -> None:
    """In both, a module would leave every change of its models unconfirmed where only one bundle has workers."""
    default, sglang = read_bundles(None)
    assert (default.bundle_id, default.priority) == ("default", 10)
    assert (sglang.bundle_id, sglang.priority) == ("sglang", 20)
    assert (*default.adapters, *sglang.adapters) == tuple(ADAPTERS)


def test_the_built_in_catalog_serves_its_model() -> None:
    catalog, faults = load_catalog(Settings(), origin=7)
    assert list(faults) == []
    assert catalog.head == 7
    (model,) = catalog.models()
    assert model.sie_id == MINILM
    assert catalog.bundles_of(model) == ("default",)
    adapter = find_adapter(model.adapter_path("default"))
    assert adapter is not None
    assert {"dense", "multivector", "score"} <= adapter.outputs


def test_all_shipped_models_load_and_the_unroutable_say_so(tmp_path: Path) -> None:
    documents = list(shipped_models())
    assert len(documents) == 90
    for one in documents:
        (tmp_path / f"{one['sie_id'].replace('/', '__')}.yaml").write_text(write_document(one))
    catalog, faults = load_catalog(Settings(models_dir=tmp_path))
    assert list(faults) == []
    assert {one.sie_id for one in catalog.models()} == {one["sie_id"] for one in documents}
    for model in catalog.models():
        modules = {model.adapter_path(name).partition(":")[0] for name in model.profiles}
        bundle = "sglang" if modules == {"sie_server.adapters.sglang"} else "default"
        assert catalog.bundles_of(model) == ((bundle,) if modules & set(ADAPTERS) else ())
    assert len(catalog.in_bundle("sglang")) == 7
    unroutable = [one.sie_id for one in catalog.models() if not catalog.bundles_of(one)]
    assert "BAAI/bge-m3" in unroutable
    assert MINILM not in unroutable


def test_a_broken_file_is_reported_by_name_and_costs_only_itself(tmp_path: Path) -> None:
    good: dict[str, Any] = {"sie_id": "a/good", "profiles": {"default": {"adapter_path": DENSE}}}
    (tmp_path / "good.yaml").write_text(write_document(good))
    (tmp_path / "twin.yaml").write_text(write_document({**good, "sie_id": "A/Good"}))
    (tmp_path / "typo.yaml").write_text(write_document({**good, "typo": 1}))
    (tmp_path / "torn.yaml").write_text("sie_id: [")
    (tmp_path / "directory.yaml").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    models, faults = read_models(tmp_path)
    assert [one.sie_id for one in models] == ["a/good"]
    assert [one.name for one in faults] == ["directory.yaml", "torn.yaml", "twin.yaml", "typo.yaml"]
    assert all(one.message for one in faults)


def test_a_directory_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for settings in (Settings(models_dir=nowhere), Settings(bundles_dir=nowhere)):
        with pytest.raises(ConfigurationError) as raised:
            load_catalog(settings)
        assert "nowhere" in str(raised.value)


def test_a_broken_bundle_file_stops_the_start_by_name(tmp_path: Path) -> None:
    (tmp_path / "cpu.yaml").write_text("adapters: 3")
    with pytest.raises(ConfigurationError) as raised:
        read_bundles(tmp_path)
    assert "cpu" in str(raised.value)
    (tmp_path / "cpu.yaml").unlink()
    with pytest.raises(ConfigurationError):
        read_bundles(tmp_path)
    (tmp_path / "cpu.yaml").mkdir()
    with pytest.raises(ConfigurationError):
        read_bundles(tmp_path)


def test_a_process_runs_the_bundles_it_is_told_to(tmp_path: Path) -> None:
    for name in ("cpu", "gpu"):
        (tmp_path / f"{name}.yaml").write_text("adapters: [a.b]")
    settings = Settings(bundles_dir=tmp_path)
    assert list(load_catalog(settings)[0].bundles) == ["cpu", "gpu"]
    assert list(load_catalog(Settings(bundles_dir=tmp_path, bundles=("GPU",)))[0].bundles) == ["gpu"]
    with pytest.raises(ConfigurationError) as raised:
        load_catalog(Settings(bundles_dir=tmp_path, bundles=("tpu",)))
    assert "cpu, gpu" in str(raised.value)


def test_two_bundles_of_one_name_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: same\nadapters: [a.b]")
    (tmp_path / "b.yaml").write_text("name: Same\nadapters: [a.b]")
    with pytest.raises(ConfigurationError):
        load_catalog(Settings(bundles_dir=tmp_path))
