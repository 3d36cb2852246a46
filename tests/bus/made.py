"""Made for these tests: notices, settings, and a bus that runs."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from sie.bus.broker import BrokerLink
from sie.bus.catchup import AnswerSync
from sie.bus.contract import Elsewhere, Hint, Notice, Nudge, Reminder
from sie.bus.nats import Described, NatsBus
from sie.catalog.canonical import Json
from sie.catalog.entry import Entry
from sie.catalog.model import Model, Profile
from sie.settings import Settings
from tests.bus.natsserver import NatsServer

DENSE = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"

T = TypeVar("T")

# What a test waits for at most: far above what anything here takes, so that a hang ends with a traceback.
PATIENCE_S = 20


def notice(revision: int, *bundles: str, model_id: str = "org/model", options: str = "mean") -> Notice:
    profile: dict[str, Json] = {"adapter_path": DENSE, "adapter_options": {"runtime": {"pooling": options}}}
    entry = Entry(
        model_id=model_id,
        profiles={f"p{revision}": profile},
        fields={},
        write_id=f"w{revision}",
        time="2026-01-01T00:00:00.000+00:00",
        router_id="router-1",
        revision=revision,
    )
    return Notice(store="store-1", entry=entry, previous=dict.fromkeys(bundles, revision - 1))


def model(number: int, options: str = "mean") -> Model:
    content: dict[str, Json] = {"adapter_path": DENSE, "adapter_options": {"runtime": {"pooling": options}}}
    profiles = {
        "default": Profile("default", content),
        "b": Profile("b", {"extends": "default"}),
        "a": Profile("a", {"extends": "default", "adaptive_batching": {"gain": 0.5}}),
    }
    return Model(
        sie_id=f"org/m{number}",
        fields={"hf_id": f"org/m{number}", "tasks": {"encode": {"dense": {"dim": 8}}}},
        profiles=profiles,
        source="api" if number % 2 else "filesystem",
        revision=number + 3,
        created={"default": number, "b": number + 2, "a": number + 3},
    )


def reminder(*bundles: str, revision: int, model_id: str = "org/model") -> Reminder:
    return Reminder(store="store-1", model_id=model_id, profiles=("default",), heads=dict.fromkeys(bundles, revision))


def describe(model_id: str, revision: int, bundles: Sequence[str]) -> Described:
    return Described(
        model_config=f"sie_id: {model_id}\n",
        epoch=revision + 100,
        bundle_config_hashes={bundle: f"hash of {bundle}" for bundle in bundles},
    )


def settings_for(server: NatsServer, **more: object) -> Settings:
    return Settings(**{"nats_url": server.url, **more})  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    settings: Settings, *, name: str = "router-1", broker: BrokerLink | None = None
) -> AsyncIterator[NatsBus]:
    """A bus, started and not waited for; at the end it is stopped, and its thread must be gone."""
    before = bus_threads()
    bus = NatsBus(settings, name=name, describe=describe, broker=broker)
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        yield bus
        nursery.cancel_scope.cancel(reason="the test has what it wanted")
    assert bus_threads() <= before


@asynccontextmanager
async def connected(settings: Settings, *, name: str = "router-1") -> AsyncIterator[NatsBus]:
    async with running(settings, name=name) as bus:
        await wait_connected(bus)
        yield bus


async def answering(bus: NatsBus, answer: AnswerSync) -> None:
    """Be one of the routers that answer who catches up, until cancelled."""
    with bus.sharing():
        await bus.serve_sync(answer)


async def wait_connected(bus: NatsBus, wanted: bool = True) -> None:
    with trio.fail_after(PATIENCE_S):
        while bus.connection.connected is not wanted:
            await bus.wait_changed(bus.connection)


async def wait_trouble(bus: NatsBus, wanted: str) -> None:
    """Until the bus says that this is why it is not connected."""
    with trio.fail_after(PATIENCE_S):
        while wanted not in bus.connection.trouble:
            await bus.wait_changed(bus.connection)
    assert not bus.connected


async def next_notice(hints: trio.MemoryReceiveChannel[Hint]) -> Notice:
    """The next hint that is one; what only says to look at the truth is passed over."""
    with trio.fail_after(PATIENCE_S):
        while not isinstance(hint := await hints.receive(), Notice):
            pass
    return hint


async def next_elsewhere(hints: trio.MemoryReceiveChannel[Hint]) -> Elsewhere:
    """The next hint that is one; what only says to look at the truth is passed over."""
    with trio.fail_after(PATIENCE_S):
        while isinstance(hint := await hints.receive(), Nudge):
            pass
    assert isinstance(hint, Elsewhere)
    return hint


async def wait_nudged(hints: trio.MemoryReceiveChannel[T | Nudge]) -> None:
    with trio.fail_after(PATIENCE_S):
        assert isinstance(await hints.receive(), Nudge)


def bus_threads() -> set[threading.Thread]:
    """Those that a bus has started, and those that asyncio starts to resolve names."""
    return {one for one in threading.enumerate() if one.name.startswith(("sie-nats", "asyncio_"))}
