"""One cluster for all tests that leave it as whole as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import storage
from tests.faults.cluster import Cluster, open_cluster
from tests.faults.verdict import wait_level

# Shorter than by default, so that what lasts longer than these lasts seconds only, and long for a healthy store. None
# of the tests may wait for the next look at the store: that would come too late by default as well.
_SHORT = {"SIE_CONFIG_STORE_TIMEOUT_S": "3", "SIE_CONFIG_COMMIT_TIMEOUT_S": "4", "SIE_CONFIG_RECONCILE_S": "600"}


@pytest.fixture(scope="package")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two routers and three workers, two of bundle `one` and one of `two`, on an S3 store behind a proxy."""
    folder = tmp_path_factory.mktemp("whole")
    with open_cluster(folder, store="s3", workers=("one", "one", "two"), proxied=True, environment=_SHORT) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    """`whole`, and whole again afterwards: the next test is not to be blamed for this one."""
    yield whole
    storage.calm(whole)
    for part in (*whole.routers, *whole.workers):
        if part.running is not None:
            part.resume()
    whole.start()
    whole.wait_whole()
    wait_level(whole, within_s=20)
