"""What the tests of this folder share."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.bus.natsserver import NatsServer


@pytest.fixture
def seed() -> int:
    """Of the order in which tasks run; STEPS_SEED=N has the same one again. Every failure names it, too."""
    chosen = int(os.environ.get("STEPS_SEED") or random.randrange(10**6))
    print(f"STEPS_SEED={chosen}")
    return chosen


@pytest.fixture(scope="session")
def step_nats() -> Iterator[NatsServer]:
    """One for all tests of this folder that need one."""
    with NatsServer() as server:
        yield server
