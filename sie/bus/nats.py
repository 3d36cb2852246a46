"""The bus between processes: two documented NATS subjects for what has changed, one of ours for catching up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import trio

from sie.bus.bridge import Bridge
from sie.bus.catchup import ROUTERS, AnswerSync, CatchUp
from sie.bus.contract import Hint, Notice, Nudge
from sie.bus.events import Down, Event, Listening, Message, Missed, Refused, Subject, Unreadable, Up
from sie.bus.followers import Followers
from sie.bus.ignored import Ignored
from sie.bus.servers import read_servers
from sie.settings import Settings
from sie.wire.notification import (
    ALL,
    ALL_SUBJECT,
    Announcement,
    ContentElsewhere,
    LegacyNotification,
    announce,
    bundle_of,
    bundle_subject,
    read_notification,
)
from sie.wire.sealed import NotOurs
from sie.wire.sync import SyncRequest, is_sync_subject
from sie.worker.follow import CaughtUp

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the messages about an entry say beside it: the whole merged model as YAML, the `epoch` to publish, and the
    hash of each bundle, as far as it is known."""

    model_config: str
    epoch: int
    bundle_config_hashes: Mapping[str, str] = field(default_factory=dict)


Describe: TypeAlias = Callable[[Notice], Described]


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether there is one, how many there have been, this one included, and why there is none."""

    connected: bool = False
    count: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStatistics:
    """`received`: messages on the config subjects since the start; `ignored`: those of no use, by reason."""

    connection: Connection
    received: int
    ignored: Mapping[str, int]


class NatsBus:
    """A bus as sie.bus.contract has it, over NATS, while `run` runs. Whoever follows is nudged on each connection."""

    def __init__(self, settings: Settings, *, name: str, describe: Describe | None = None) -> None:
        """`name`: ours on the bus; a router's is its `router_id`. `describe`: needed by who publishes.

        Raises ConfigurationError for settings that can never work.
        """
        self._settings = settings
        self._name = name
        self._describe = describe
        self._key = settings.bus_key.encode() if settings.bus_key is not None else None
        self._bridge = Bridge(read_servers(settings), settings, name=name)
        self._ignored = Ignored()
        self._catch_up = CatchUp(self._bridge, settings, key=self._key, ignored=self._ignored)
        self._followers: Followers[Notice] = Followers()
        self._legacy_followers: Followers[LegacyNotification] = Followers()
        self._listeners: Counter[Subject] = Counter()
        self._received = 0
        self._connection = Connection(trouble="NATS has not been reached yet")
        self._changed = trio.Event()
        self._told: set[str] = set()  # why there is no connection, since there was one

    # -- what every bus does

    @property
    def connected(self) -> bool:
        return self._bridge.connected

    async def publish(self, notice: Notice) -> None:
        """Tell the workers of each bundle it touches, the best first, then all routers; wait for NATS to confirm.

        Raises BusUnavailable: not connected, refused, or not confirmed in time; it may have reached some all the same.
        """
        assert self._describe is not None, "who publishes must be able to describe"
        said = self._describe(notice)
        announcement = Announcement(
            entry=notice.entry,
            store=notice.store,
            previous=notice.previous,
            router_id=self._name,
            epoch=said.epoch,
            model_config=said.model_config,
            bundle_config_hashes=said.bundle_config_hashes,
        )
        limit = min(self._bridge.limit, self._settings.nats_message_bytes)
        messages = announce(announcement, key=self._key, limit=limit)
        await self._bridge.publish([Message(subject, content) for subject, content in messages])

    def nudge(self) -> None:
        self._nudge(None)

    def follow(self, bundle: str) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        """Also of what this process itself publishes. A Nudge says from when on nothing is missed."""
        return self._follow(self._followers, bundle, bundle_subject(bundle))

    # -- what a cluster needs beside that

    def follow_all(self) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        """For a router: what other routers publish, whatever the bundle."""
        return self._follow(self._followers, ALL, ALL_SUBJECT)

    def follow_legacy(
        self, bundle: str = ALL
    ) -> AbstractContextManager[trio.MemoryReceiveChannel[LegacyNotification | Nudge]]:
        """What routers of SIE v0.1.10 say of a bundle, or to all routers; nothing once SIE_BUS_KEY is set.

        A Nudge as in `follow`, though they have no truth to read: what was missed before it is lost.
        """
        return self._follow(self._legacy_followers, bundle, ALL_SUBJECT if bundle == ALL else bundle_subject(bundle))

    @property
    def connection(self) -> Connection:
        return self._connection

    async def wait_changed(self, seen: Connection) -> Connection:
        """The connection as it is, once that is not what was seen; what came and went in between shows in `count`."""
        while self._connection == seen:
            await self._changed.wait()
        return self._connection

    async def sync(self, bundle: str, store: str, since: int, digest: str = "") -> CaughtUp:
        """What some router knows of the bundle beyond revision `since` of `store`; everything, if it has another store.

        `digest`: what is known up to there hashes to; "" if that does not matter. `bundle` may be `_all`.
        Raises BusUnavailable: not connected, no router, none that could answer, or silence for SIE_NATS_SYNC_S.
        """
        return await self._catch_up.ask(SyncRequest(bundle=bundle, store=store, since=since, digest=digest))

    async def serve_sync(self, answer: AnswerSync) -> None:
        """For a router: answer those who catch up, in turn with the other routers, until cancelled.

        A SieError that `answer` raises is told to the asker, who asks again.
        """
        with self._listening(ROUTERS):
            await self._catch_up.answer_all(answer)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be on the bus until cancelled. Started at once, with NATS there or not."""
        if self._key is None:
            log.info("SIE_BUS_KEY is not set: NATS's own permissions alone keep strangers from announcing models")
        async with trio.open_nursery() as nursery:
            await nursery.start(self._bridge.run)
            with self._listening(self._catch_up.inbox):
                task_status.started()
                while True:
                    for event in await self._bridge.receive():
                        self._take(event)
                        await trio.lowlevel.checkpoint()  # a thousand at once must not keep others waiting

    def statistics(self) -> BusStatistics:
        return BusStatistics(connection=self._connection, received=self._received, ignored=self._ignored.counts)

    # -- inside

    @contextmanager
    def _follow(
        self, followers: Followers[T], topic: str, subject: str
    ) -> Iterator[trio.MemoryReceiveChannel[T | Nudge]]:
        with followers.follow(topic) as hints, self._listening(Subject(subject)):
            yield hints

    @contextmanager
    def _listening(self, subject: Subject) -> Iterator[None]:
        self._listeners[subject] += 1
        self._bridge.listen(subject)  # each time: whoever comes later, too, is told from when on nothing is missed
        try:
            yield
        finally:
            self._listeners[subject] -= 1
            if not self._listeners[subject]:
                self._bridge.leave(subject)

    def _take(self, event: Event) -> None:
        match event:
            case Message():
                self._hear(event)
            case Listening(subject):
                self._nudge(bundle_of(subject.pattern))
            case Missed():
                log.warning("more was said on the bus than could be heard; reading the truth instead")
                self.nudge()
            case Up(server):
                log.info("connected to NATS at %s", server)
                self._told.clear()
                self._become(Connection(True, self._connection.count + 1))
                self.nudge()
            case Down(server, reason):
                trouble = f"NATS at {server}: {reason}"
                if trouble not in self._told:
                    log.warning("%s; trying on", trouble)
                    self._told.add(trouble)
                self._become(Connection(False, self._connection.count, trouble))
            case Refused(reason):
                log.error("NATS refuses us something: %s", reason)
            case Unreadable(reason):
                self._ignored.note(NotOurs("malformed", reason))

    def _nudge(self, topic: str | None) -> None:
        self._followers.nudge(topic)
        self._legacy_followers.nudge(topic)

    def _hear(self, message: Message) -> None:
        if self._catch_up.take(message):
            return
        self._received += 1
        try:
            if is_sync_subject(message.subject):
                self._catch_up.take_request(message)
            else:
                self._hear_notification(message)
        except NotOurs as fault:
            self._ignored.note(fault)
        except Exception:
            # One message in a form nobody foresaw must not end the bus for all others.
            log.exception("a message on %s failed in a way nobody foresaw", message.subject)
            self._ignored.note(NotOurs("unforeseen", "see the log"))

    def _hear_notification(self, message: Message) -> None:
        topic = bundle_of(message.subject)
        heard = read_notification(
            message.content, subject=message.subject, key=self._key, limit=self._settings.nats_message_bytes
        )
        if topic == ALL and heard.router_id == self._name:
            return
        if isinstance(heard, LegacyNotification):
            self._legacy_followers.tell(topic, heard)
        elif isinstance(heard, ContentElsewhere):
            self._followers.nudge(topic)
        else:
            self._followers.tell(topic, Notice(store=heard.store, entry=heard.entry, previous=heard.previous))

    def _become(self, connection: Connection) -> None:
        if connection != self._connection:
            self._connection = connection
            self._changed.set()
            self._changed = trio.Event()
