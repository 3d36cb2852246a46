"""A real NATS server for every test here, and buses on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bus.natsserver import NatsServer


@pytest.fixture(scope="session")
def shared_nats() -> Iterator[NatsServer]:
    """One server for all tests that leave it as it is."""
    with NatsServer() as server:
        yield server
