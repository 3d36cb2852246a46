"""What a NatsBus asks of its way to the broker: the bridge to a real one has it, and a simulated one can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from sie.bus.events import Event, Message, Subject


class BrokerLink(Protocol):
    """A connection that is kept, or tried again and again, while `run` runs. See Bridge for what each call promises."""

    @property
    def connected(self) -> bool: ...

    @property
    def limit(self) -> int: ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...

    def listen(self, subject: Subject) -> None: ...

    def leave(self, subject: Subject) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None: ...

    def tell(self, message: Message) -> None: ...

    async def receive(self) -> Sequence[Event]: ...
