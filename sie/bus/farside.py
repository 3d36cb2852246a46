# Rule 1: no other file imports asyncio or nats, and nothing here is called from Trio's thread but by the bridge.
# Rule 2: a connection is one nats client, used once: what it trips over when it reconnects by itself is never reached.
"""The far side of the bridge: nats-py on an asyncio loop in a thread of its own, kept connected for ever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import trio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from sie.bus.events import Down, Event, Listening, Message, Refused, Subject, Unreadable, Up
from sie.bus.servers import Server, Servers
from sie.settings import Settings

log = logging.getLogger(__name__)

# Saying goodbye to a server that may not listen any more.
_GOODBYE_S = 0.5

# nats-py tells that a connection has ended only after being polite to the peer, which may be frozen: look, too.
_LOOK_S = 0.25

# Between attempts to end something.
_INSIST_S = 0.02

# Between looks at what the socket does not take right now.
_UNWRITTEN_S = 0.001

# For waits that something else ends: a flush of nats-py that runs out of time breaks its reader.
_LONG_S = 1_000_000


@dataclass(eq=False)
class Call:
    """One sending, on its way over and back. `fault` stands when it is settled: None if the server has it all."""

    settled: trio.Event
    fault: str | None = None


class FarSide:
    """Whatever happens here is told by `tell`, and each call is handed back by `settle`, both on this thread."""

    def __init__(
        self,
        servers: Servers,
        settings: Settings,
        name: str,
        *,
        tell: Callable[[Event], None],
        settle: Callable[[Call], None],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._servers = servers
        self._settings = settings
        self._name = name
        self._tell = tell
        self._settle = settle
        self._client: _Client | None = None  # while connected
        self._wanted: dict[Subject, None] = {}
        self._made: dict[Subject, Subscription] = {}
        self._tasks: dict[asyncio.Task[None], Call | None] = {}

    async def live(self, ready: Callable[[], None]) -> None:
        """Keep connected, server after server, until `stop`. `ready` is called once orders are taken."""
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(_tell_of_stray)
        self._stopping = asyncio.Event()
        stopped = self.loop.create_task(self._stopping.wait())
        self._ours = asyncio.all_tasks()
        ready()
        servers = itertools.cycle(random.sample(self._servers.addresses, len(self._servers.addresses)))
        while not stopped.done():
            server = next(servers)
            client = _Client(server, self._tell)
            using = self.loop.create_task(self._use(client))
            await asyncio.wait([using, stopped], return_when=asyncio.FIRST_COMPLETED)
            while not using.done():  # once is not enough: asyncio.wait_for, which nats-py uses, may swallow it
                using.cancel("the bus is closed")
                await asyncio.wait([using], timeout=_INSIST_S)
            self._client = None
            self._made.clear()
            self._tell(Down(server.name, client.why_ended() or _why(using)))
            await self._let_go(client)
            await asyncio.wait([stopped], timeout=random.uniform(0.2, 1) * self._settings.nats_reconnect_s)

    def stop(self) -> None:
        self._stopping.set()

    def listen(self, subject: Subject) -> None:
        self._wanted[subject] = None
        if self._client is not None:
            self._begin(self._listen_now(self._client, subject))

    def leave(self, subject: Subject) -> None:
        self._wanted.pop(subject, None)
        made = self._made.pop(subject, None)
        if made is not None:
            self._begin(_leave_now(made))

    def send(self, call: Call, messages: Sequence[Message]) -> None:
        self._begin(self._send_now(messages), call)

    def give_up(self, call: Call) -> None:
        for task, its_call in self._tasks.items():
            if its_call is call:
                task.cancel("nobody waits for it any more")

    def _begin(self, work: Coroutine[Any, Any, None], call: Call | None = None) -> None:
        assert self.loop is not None
        task = self.loop.create_task(work)
        self._tasks[task] = call
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        call, why = self._tasks.pop(task), _why(task)
        if call is not None:
            call.fault = why or None
            self._settle(call)

    async def _use(self, client: _Client) -> None:
        """One connection, from the first try to its end."""
        async with asyncio.timeout(self._settings.nats_connect_s):
            await client.reach(self._servers, self._settings, self._name)
            while missing := [one for one in self._wanted if one not in self._made]:
                for subject in missing:
                    await self._make(client, subject)
                await client.confirmed()
        self._client = client
        self._tell(Up(client.server.name, client.max_payload))
        await client.ended()

    async def _make(self, client: _Client, subject: Subject) -> None:
        self._made[subject] = await client.subscribe(subject.pattern, queue=subject.group, cb=self._hear)

    async def _hear(self, message: Msg) -> None:
        self._tell(Message(message.subject, message.data, message.reply))

    async def _listen_now(self, client: _Client, subject: Subject) -> None:
        if subject not in self._made:
            await self._make(client, subject)
        await client.confirmed()
        self._tell(Listening(subject))

    async def _send_now(self, messages: Sequence[Message]) -> None:
        client = self._client
        if client is None:
            raise ConnectionError("not connected")
        refused = client.refused
        for message in messages:
            await client.publish(message.subject, message.content, reply=message.reply)
        await client.confirmed()
        if client.refused != refused:
            raise ConnectionError("it does not permit us to publish there")

    async def _let_go(self, client: _Client) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_GOODBYE_S):
                await client.close()
        # nats-py forgets some of its tasks when a connection breaks. The loop is ours alone: what is left was its.
        strays = asyncio.all_tasks() - self._ours
        for stray in strays:
            stray.cancel("its connection has ended")
        if strays:
            await asyncio.wait(strays, timeout=_GOODBYE_S)


class _Client(Client):
    """A nats client for one connection to one server.

    `trouble`: the last thing it complained of. `refused`: how often the server has denied us something.
    """

    def __init__(self, server: Server, tell: Callable[[Event], None]) -> None:
        super().__init__()
        self.server = server
        self.trouble = ""
        self.refused = 0
        self._tell = tell
        self._encrypted = False
        self._gone = asyncio.Event()

    async def reach(self, servers: Servers, settings: Settings, name: str) -> None:
        """Connect and log in."""
        options: dict[str, Any] = {
            "user": self._secret(self.server.user),
            "password": self._secret(self.server.password),
            "token": self._secret(self.server.token),
            "user_credentials": str(servers.credentials) if servers.credentials is not None else None,
            "tls": servers.tls,
            "connect_timeout": settings.nats_connect_s,
            "ping_interval": settings.nats_ping_s,
            "max_outstanding_pings": 2,
            "flush_timeout": settings.nats_publish_s,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
        }
        await self.connect(
            f"nats://{self.server.name}", name=name, error_cb=self._complain, closed_cb=self._close_heard, **options
        )
        self._require_encryption()
        self.trouble = ""

    async def confirmed(self) -> None:
        """Until the server has seen everything sent so far. Raises ConnectionError if the connection ends instead."""
        # nats-py writes its question ahead of what it has not written yet: the answer would confirm nothing.
        await asyncio.sleep(0)
        while self.pending_data_size > 0 and self.is_connected:  # noqa: ASYNC110 (nobody tells when it is written)
            await asyncio.sleep(_UNWRITTEN_S)
        # Not cancelled with us: a flush that is given up makes the reader stumble over the answer that comes late.
        flushing = asyncio.ensure_future(self.flush(timeout=_LONG_S))
        while self.is_connected and not flushing.done():
            await asyncio.wait([flushing], timeout=_LOOK_S)
        if not self.is_connected or _why(flushing):
            raise ConnectionError("the connection was lost")

    async def ended(self) -> None:
        """Until the connection has ended, whoever ended it."""
        while not self.is_closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._gone.wait()

    def why_ended(self) -> str:
        fault = self.last_error
        return self.trouble or (_said(fault) if fault is not None else "")

    @property
    def ssl_context(self) -> Any:
        self._encrypted = True  # asked for when, and only when, TLS begins
        return super().ssl_context

    def _secret(self, value: str | None) -> Callable[[], str] | None:
        """Given out at log-in, and only once the connection is what it must be."""

        def give() -> str:
            self._require_encryption()
            assert value is not None
            return value

        return give if value is not None else None

    def _require_encryption(self) -> None:
        if self.server.encrypted and not self._encrypted:
            raise NatsError("it speaks no TLS, which tls:// asks for")

    async def _complain(self, fault: Exception) -> None:
        if not isinstance(fault, NoServersError):
            self.trouble = _said(fault)
        if "permissions violation" in str(fault).lower():
            self.refused += 1
            self._tell(Refused(_said(fault)))

    async def _close_heard(self) -> None:
        self._gone.set()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        # A header of one byte would end nats-py's reader, silently: anybody who may publish can send one.
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (IndexError, ValueError) as fault:
            self._tell(Unreadable(_said(fault)))


async def _leave_now(made: Subscription) -> None:
    await made.unsubscribe()


def _why(task: asyncio.Future[Any]) -> str:
    """Why a task has failed; "" if it has not."""
    if task.cancelled():
        return "the connection was lost"
    fault = task.exception()
    return _said(fault) if fault is not None else ""


def _said(fault: BaseException) -> str:
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, ConnectionRefusedError):
        return "connection refused"
    return str(fault).removeprefix("nats: ") or type(fault).__name__


def _tell_of_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio would print with a traceback: the end of a task that nats-py has forgotten."""
    fault = context.get("exception")
    log.debug("asyncio: %s%s", context.get("message"), f": {_said(fault)}" if fault is not None else "")
