from __future__ import annotations

import os
from pathlib import Path

import pytest

from sie.errors import ConfigurationError, StoreUnavailable
from sie.settings import Settings
from sie.store.local import LocalStore
from sie.store.memory import MemoryStore
from sie.store.open import open_store


async def test_no_directory_means_memory() -> None:
    assert isinstance(await open_store(Settings()), MemoryStore)


async def test_a_path_means_a_local_directory_and_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for address, place in ((str(tmp_path / "a"), "a"), ("b/c", "b/c"), ("~/d", "home/d")):
        store = await open_store(Settings(store_dir=address))
        assert isinstance(store, LocalStore)
        assert store.place == os.path.join(tmp_path, place)


@pytest.mark.parametrize("address", ["s3://bucket/prefix", "gs://bucket/prefix", "https://example.org/x"])
async def test_a_url_is_refused_with_what_there_is_instead(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await open_store(Settings(store_dir=address))
    assert address in str(caught.value)
    assert "in memory or in a local directory" in str(caught.value)


async def test_a_place_where_nothing_can_be_made_is_unavailable_and_named() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await open_store(Settings(store_dir="/proc/no/store/here"))
    assert "/proc/no/store/here" in caught.value.message
