"""A mixed cluster on a NATS server of its own, and what a test starts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bus.natsserver import NatsServer
from tests.legacy.made import Mixed, mixed_cluster


@pytest.fixture
def mixed(nats: NatsServer, tmp_path: Path) -> Iterator[Mixed]:
    with mixed_cluster(nats, tmp_path) as cluster:
        yield cluster


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as closing:
        yield closing
