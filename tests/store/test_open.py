from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sie.errors import ConfigurationError, StoreUnavailable
from sie.settings import Settings
from sie.store.local import LocalStore
from sie.store.memory import MemoryStore
from sie.store.objects import ObjectStore
from sie.store.open import open_store
from tests.store.samples import ROOT
from tests.store.shared import Shared


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


@pytest.mark.parametrize("address", ["https://example.org/x", "S3://bucket", "file:///tmp/store"])
async def test_an_address_of_another_kind_is_refused_with_what_there_is_instead(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await open_store(Settings(store_dir=address))
    assert "SIE_CONFIG_STORE_DIR" in str(caught.value)


@pytest.mark.parametrize("address", ["s3://key:hidden@bucket/prefix", "s3:///hidden", "s3://b", "gs://hidden bucket"])
async def test_an_address_that_cannot_be_one_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await open_store(Settings(store_dir=address))
    assert "scheme://bucket/prefix" in str(caught.value)
    assert "hidden" not in str(caught.value)


async def test_a_url_means_a_bucket_and_a_slash_at_its_end_nothing(shared: Shared) -> None:
    first = await open_store(Settings(store_dir=shared.url))
    second = await open_store(Settings(store_dir=f"{shared.url}/"))
    assert isinstance(first, ObjectStore)
    assert (first.id, first.place) == (second.id, second.place) == (first.id, shared.url)
    await first.aclose()
    await second.aclose()


_OPEN = """
import sys, trio
from sie.settings import Settings
from sie.store.open import open_store
import sie.cli, sie.service

trio.run(lambda: open_store(Settings(store_dir=sys.argv[1])))
print(*sorted({"boto3", "botocore", "google.cloud.storage", "requests"} & set(sys.modules)))
"""


def test_a_cloud_library_is_imported_for_its_own_scheme_only(tmp_path: Path, s3: Shared, gcs: Shared) -> None:
    gcs.lead_to(gcs.port)
    for address, modules in (
        (str(tmp_path), ""),
        (s3.url, "boto3 botocore"),
        (gcs.url, "google.cloud.storage requests"),
    ):
        command = [sys.executable, "-c", _OPEN, address]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        assert said.stdout.strip() == modules


@pytest.mark.parametrize(("scheme", "library"), [("s3", "boto3"), ("gs", "google")])
async def test_a_library_that_is_not_installed_is_named_with_its_cure(
    scheme: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        one for one in sys.modules if one.partition(".")[0] == library or one in ("sie.store.s3", "sie.store.gcs")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError) as caught:
        await open_store(Settings(store_dir=f"{scheme}://bucket/prefix"))
    assert f"pip install 'sie[{ {'s3': 's3', 'gs': 'gcs'}[scheme] }]'" in str(caught.value)


async def test_a_place_where_nothing_can_be_made_is_unavailable_and_named() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await open_store(Settings(store_dir="/proc/no/store/here"))
    assert "/proc/no/store/here" in caught.value.message
