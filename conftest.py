"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Set before anything imports the hub's client: no test reaches beyond this machine.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import HealthCheck, settings

from tests.bus.natsserver import NatsServer
from tests.processes import Served, sie_serve

# Deadlines would measure the machine. A failing example prints the seed that repeats it.
settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session")
def running() -> Iterator[Served]:
    """One `sie serve` with the built-in catalog for all tests that only infer or add uniquely named models."""
    with sie_serve() as served:
        yield served
        assert served.stop() == 0, "".join(served.output)


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    """A real NATS server of the test's own, to be killed, paused and started again."""
    with NatsServer() as server:
        yield server
