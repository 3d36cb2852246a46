"""What can be wrong with how the bus is used and believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import trio

import sie.router.writer
import sie.wire.heads
import sie.wire.notification
import sie.wire.sealed
from sie.bus.contract import Bus
from sie.bus.events import Message
from sie.bus.farside import FarSide
from sie.bus.nats import NatsBus
from sie.flow import Commit, Order, fulfil
from sie.router.head import Head
from sie.router.writer import Writer
from sie.wire.sealed import unseal
from sie.wire.sync import Pages
from tests.planted.patching import patch


def an_announced_entry_is_not_looked_into() -> None:
    patch(sie.wire.notification, _check_content=lambda fields, profiles: None)


def a_seal_is_not_looked_at() -> None:
    def unlooked(content: bytes, **said: Any) -> dict[str, Any]:
        return unseal(content, **{**said, "key": None})

    patch(sie.wire.notification, unseal=unlooked)


def what_bears_no_seal_is_let_through() -> None:
    def lenient(content: bytes, **said: Any) -> dict[str, Any]:
        with suppress(ValueError):
            fields = json.loads(content)
            if isinstance(fields, dict) and "hmac" not in fields:
                return unseal(content, **{**said, "key": None})
        return unseal(content, **said)

    patch(sie.wire.notification, unseal=lenient)


def a_seal_is_good_for_any_subject() -> None:
    mac = sie.wire.sealed._mac
    patch(sie.wire.sealed, _mac=lambda fields, subject, key: mac(fields, "", key))


def an_answer_needs_no_seal() -> None:
    add = Pages.add

    def unlooked(self: Pages, page: bytes) -> None:
        self.key = None
        add(self, page)

    patch(Pages, add=unlooked)


def where_a_router_stands_needs_no_seal() -> None:
    def unlooked(content: bytes, **said: Any) -> dict[str, Any]:
        return unseal(content, **{**said, "key": None})

    patch(sie.wire.heads, unseal=unlooked)


def nobody_asks_whether_nats_is_there() -> None:
    patch(Writer, require_bus=lambda self: None)


def what_was_sent_counts_as_received() -> None:
    async def send(self: FarSide, messages: Sequence[Message]) -> None:
        assert self._client is not None
        for message in messages:
            await self._client.publish(message.subject, message.content, reply=message.reply)

    patch(FarSide, _send_now=send)


def nobody_is_told_that_it_was_not_published() -> None:
    async def quietly(order: Order, *, head: Head, bus: Bus, deadline: float) -> Commit:
        commit = await fulfil(order, head=head, bus=bus, deadline=deadline)
        head.unsaid.clear()
        return replace(commit, warnings=())

    patch(sie.router.writer, fulfil=quietly)


def nobody_starts_without_nats() -> None:
    run = NatsBus.run

    async def late(  # noqa: ASYNC114 -- nobody starts this in a context manager
        self: NatsBus, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(run, self))
            while not self.connected:
                await self.wait_changed(self.connection)
            task_status.started()

    patch(NatsBus, run=late)
