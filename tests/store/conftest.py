"""The services behind the shared stores: started once, and only if a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bucket_servers import gcs_server, s3_server, weed_server
from tests.store.shared import Shared


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture(scope="session")
def gcs_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as port:
        yield port


@pytest.fixture(scope="session")
def weed_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with weed_server(tmp_path_factory.mktemp("weed")) as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Shared:
    return Shared.at("s3", s3_port, monkeypatch)


@pytest.fixture
def gcs(gcs_port: int, monkeypatch: pytest.MonkeyPatch) -> Shared:
    return Shared.at("gs", gcs_port, monkeypatch)


@pytest.fixture
def weed(weed_port: int, monkeypatch: pytest.MonkeyPatch) -> Shared:
    return Shared.at("s3", weed_port, monkeypatch)


@pytest.fixture(params=["s3", "gcs", pytest.param("weed", marks=pytest.mark.slow)])
def shared(request: pytest.FixtureRequest) -> Shared:
    """Each service in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Shared)
    return found
