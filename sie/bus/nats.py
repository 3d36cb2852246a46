"""The bus between processes: two documented NATS subjects for what has changed, one of ours for catching up."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import trio

from sie.bus.bridge import Bridge
from sie.bus.broker import BrokerLink
from sie.bus.catchup import ROUTERS, AnswerSync, CatchUp
from sie.bus.contract import Elsewhere, Hint, Notice, Nudge, Reminder
from sie.bus.events import Down, Event, Listening, Message, Missed, Refused, Subject, Unreadable, Up
from sie.bus.followers import Followers
from sie.bus.ignored import Ignored
from sie.bus.servers import read_servers
from sie.catalog.entry import Entry
from sie.settings import Settings
from sie.wire.heads import HEADS_SUBJECT, Heads, read_heads, write_heads
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
from sie.wire.sync import SyncRequest, is_sync_subject, router_subject
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


# Of a model, by its id, as of a revision; and what these bundles hash to.
Describe: TypeAlias = Callable[[str, int, Sequence[str]], Described]


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

    def __init__(
        self, settings: Settings, *, name: str, describe: Describe | None = None, broker: BrokerLink | None = None
    ) -> None:
        """`name`: ours on the bus; a router's is its `router_id`. `describe`: needed by who publishes. `broker`: the
        servers that the settings name, unless another is given.

        Raises ConfigurationError for settings that can never work.
        """
        self._settings = settings
        self._name = name
        self._describe = describe
        self._key = settings.bus_key.encode() if settings.bus_key is not None else None
        self._bridge = broker if broker is not None else Bridge(read_servers(settings), settings, name=name)
        self._ignored = Ignored()
        self._catch_up = CatchUp(self._bridge, settings, key=self._key, ignored=self._ignored)
        self.address = secrets.token_hex(8)  # where it alone can be asked, if it serves
        self._followers: Followers[Notice | Elsewhere] = Followers()
        self._heads_followers: Followers[Heads] = Followers()
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
        entry = notice.entry
        told = Reminder(
            store=notice.store,
            model_id=entry.model_id,
            profiles=tuple(entry.profiles),
            heads=dict.fromkeys(notice.previous, entry.revision),
        )
        await self._announce(told, entry, notice.previous)

    async def remind(self, reminder: Reminder) -> None:
        """As `publish`; who lacks it by its revision reads the truth."""
        await self._announce(reminder)

    async def say_heads(self, heads: Heads) -> None:
        """Tell everybody where this router stands. Raises as `publish` does."""
        await self._bridge.publish([Message(HEADS_SUBJECT, write_heads(heads, key=self._key))])

    def nudge(self) -> None:
        self._nudge(None)

    def follow(self, bundle: str) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        """Also of what this process itself publishes. A Nudge says from when on nothing is missed."""
        return self._follow(self._followers, bundle, bundle_subject(bundle))

    # -- what a cluster needs beside that

    def follow_all(self) -> AbstractContextManager[trio.MemoryReceiveChannel[Hint]]:
        """For a router: what other routers publish, whatever the bundle."""
        return self._follow(self._followers, ALL, ALL_SUBJECT)

    def follow_heads(self) -> AbstractContextManager[trio.MemoryReceiveChannel[Heads | Nudge]]:
        """For a router: where other routers say they stand. A Nudge as in `follow`."""
        return self._follow(self._heads_followers, HEADS_SUBJECT, HEADS_SUBJECT)

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

    async def sync(self, bundle: str, known: Mapping[str, int], digest: str = "") -> CaughtUp:
        """What some router knows of the bundle beyond those revisions of those stores, and of other stores.

        `digest`: what is known up to there hashes to; "" if that does not matter.
        Raises BusUnavailable: not connected, no router, none that could answer, or silence for SIE_NATS_SYNC_S.
        """
        return await self._catch_up.ask(SyncRequest(bundle=bundle, known=known, digest=digest))

    async def sync_with(self, address: str, known: Mapping[str, int]) -> CaughtUp:
        """What the router at that address knows, of all bundles. As `sync`."""
        return await self._catch_up.ask(SyncRequest(bundle=ALL, known=known), subject=router_subject(address))

    async def serve_sync(self, answer: AnswerSync) -> None:
        """For a router: answer who asks at `address`, and, while `sharing`, those who ask any router, until cancelled.

        A SieError that `answer` raises is told to the asker, who asks again.
        """
        with self._listening(Subject(router_subject(self.address))):
            await self._catch_up.answer_all(answer)

    def sharing(self) -> AbstractContextManager[None]:
        """Take one's turn, with the other routers, in answering those who catch up."""
        return self._listening(ROUTERS)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be on the bus until cancelled. Started at once, with NATS there or not."""
        if self._key is None:
            log.info("SIE_BUS_KEY is not set: NATS's own permissions alone keep strangers from announcing models")
        async with trio.open_nursery() as nursery:
            await nursery.start(self._bridge.run)
            with self._listening(self._catch_up.inbox), self._listening(Subject(HEADS_SUBJECT)):
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
        self._heads_followers.nudge(topic)
        self._followers.nudge(topic)
        self._legacy_followers.nudge(topic)

    def _hear(self, message: Message) -> None:
        if self._catch_up.take(message):
            return
        self._received += 1
        try:
            if is_sync_subject(message.subject):
                self._catch_up.take_request(message)
            elif message.subject == HEADS_SUBJECT:
                self._hear_heads(message)
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
            self._followers.tell(topic, Elsewhere(heard.store, heard.revision))
        else:
            self._followers.tell(topic, Notice(store=heard.store, entry=heard.entry, previous=heard.previous))

    def _hear_heads(self, message: Message) -> None:
        heads = read_heads(message.content, key=self._key, limit=self._settings.nats_message_bytes)
        if heads.router_id == self._name:
            return
        self._heads_followers.tell(HEADS_SUBJECT, heads)
        for bundle in self._followers.topics:
            if bundle != ALL:
                self._followers.tell(bundle, Elsewhere(heads.store, heads.bundles.get(bundle, 0)))

    async def _announce(
        self, told: Reminder, entry: Entry | None = None, previous: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        assert self._describe is not None, "who publishes must be able to describe"
        said = self._describe(told.model_id, max(told.heads.values(), default=0), tuple(told.heads))
        announcement = Announcement(
            model_id=told.model_id,
            profiles=told.profiles,
            store=told.store,
            heads=told.heads,
            entry=entry,
            previous=previous,
            router_id=self._name,
            epoch=said.epoch,
            model_config=said.model_config,
            bundle_config_hashes=said.bundle_config_hashes,
        )
        limit = min(self._bridge.limit, self._settings.nats_message_bytes)
        messages = announce(announcement, key=self._key, limit=limit)
        await self._bridge.publish([Message(subject, content) for subject, content in messages])

    def _become(self, connection: Connection) -> None:
        if connection != self._connection:
            self._connection = connection
            self._changed.set()
            self._changed = trio.Event()
