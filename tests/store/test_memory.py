from __future__ import annotations

import time

from sie.store.memory import MemoryStore
from tests.store.samples import STARTED, memory


def test_numbers_start_at_the_unix_time_in_ms() -> None:
    assert memory().origin == int(STARTED * 1000)
    before = int(time.time() * 1000)
    assert before <= MemoryStore().origin <= int(time.time() * 1000)


def test_every_memory_store_is_another_store() -> None:
    assert memory().id != memory().id
