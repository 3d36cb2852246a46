"""Entries and stores for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

from sie.catalog.entry import Entry
from sie.settings import Settings
from sie.store.local import LocalStore, open_local
from sie.store.memory import MemoryStore

ROOT = Path(__file__).parents[2]  # where `tests` can be imported from, for processes of their own
STARTED = 1_700_000_000.0  # Unix time at which the tests' memory stores begin


def entry(revision: int, write_id: str | None = None, *, text: str = "") -> Entry:
    return Entry(
        model_id=f"org/model-{revision}",
        profiles={"default": {"adapter_path": "some.module:Class", "max_batch_tokens": 8192}},
        fields={"description": text or f"model {revision}, été 🚀"},
        write_id=write_id or f"write-{revision}",
        time="2024-01-01T00:00:00.000Z",
        router_id="router-1",
        skipped=("old",),
        body_hash="0" * 64,
        idempotency_key=f"key-{revision}",
        revision=revision,
    )


def memory() -> MemoryStore:
    return MemoryStore(now=lambda: STARTED)


async def local(base: Path, *, timeout_s: float = 30.0) -> LocalStore:
    """A patient one: these tests share their machine."""
    return await open_local(base, Settings(store_timeout_s=timeout_s))
