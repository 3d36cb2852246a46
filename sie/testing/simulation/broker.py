"""A broker as NATS is one, and ways to it that delay, drop, double, reorder and break."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from sie.bus.events import Down, Event, Listening, Message, Subject, Up
from sie.errors import BusUnavailable
from sie.settings import Settings
from sie.testing.simulation.world import Life, World

_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BusWeather:
    """Chances, of each message to each listener, from 0 to 1. `slow_s`: the most it takes on each way.

    `reorder`: it takes up to `late_s`, and others overtake it; without it, what one sends another gets in order.
    """

    slow_s: float = 0.003
    drop: float = 0.0
    double: float = 0.0
    reorder: float = 0.0
    late_s: float = 4.0


class Broker:
    """Passes messages on to who listens. `up`: whether it runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.weather = BusWeather()
        self.up = True
        self.changed = trio.Event()
        self.links: list[Link] = []
        self._chance: random.Random = world.chance("broker")

    def begin(self) -> None:
        self.up = True
        self._tell()

    def end(self) -> None:
        """As by SIGKILL: every connection is gone, and what was on its way."""
        self.up = False
        for one in self.links:
            one.lose("the broker is gone")
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def route(self, message: Message) -> None:
        """To everybody who listens; of each group, to one."""
        if not self.up:
            return
        self.world.messages[int(self.world.now)] += 1
        groups: dict[str, list[Link]] = {}
        listeners: list[Link] = []
        for link in self.links:
            for subject in link.heard:
                if _fits(subject.pattern, message.subject):
                    (groups.setdefault(subject.group, []) if subject.group else listeners).append(link)
        listeners += [self._chance.choice(group) for group in groups.values()]
        for link in listeners:
            self._pass_on(link, message)
        if not listeners and message.reply:
            self.route(Message(message.reply, b""))  # as NATS answers where nobody listens

    def _pass_on(self, link: Link, message: Message) -> None:
        weather, chance = self.weather, self._chance
        if chance.random() < weather.drop:
            return
        for _ in range(1 + (chance.random() < weather.double)):
            if chance.random() < weather.reorder:
                self.world.at(weather.late_s * chance.random(), link.arriving(message))
            else:
                link.arrive_in_order(weather.slow_s * chance.random(), message)


class Link:
    """A BrokerLink. `cut`: nothing passes; after two pings each side takes the connection for lost."""

    def __init__(self, broker: Broker, life: Life, settings: Settings) -> None:
        self.connected = False
        self.limit = _LIMIT_BYTES
        self.heard: list[Subject] = []  # as the broker has it
        self.cut = False
        self._broker = broker
        self._life = life
        self._settings = settings
        self._chance = broker.world.chance(f"link of {life.name}")
        self._wanted: dict[Subject, None] = {}
        self._events: deque[Event] = deque()
        self._arrived = trio.Event()
        self._lost = trio.Event()
        self._open = False
        self._count = 0
        self._held: list[Callable[[], None]] = []  # on its way while cut
        self._newest_in = self._newest_out = -math.inf

    # -- what a NatsBus asks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._broker.links.append(self)
        task_status.started()
        try:
            while True:
                await trio.sleep(self._chance.uniform(0.2, 1) * self._settings.nats_reconnect_s * (self._count > 0))
                if not self._reachable():
                    await self._broker.changed.wait()
                    continue
                await trio.sleep(self._way())
                if not self._reachable():
                    continue
                self._count += 1
                self._lost = trio.Event()
                self.heard = list(self._wanted)
                self._hear(Up("simulated", self.limit))
                self._open = True
                await self._lost.wait()
                self._open = False
                self.heard = []
                self._hear(Down("simulated", "lost"))
        finally:
            self._broker.links.remove(self)

    def listen(self, subject: Subject) -> None:
        self._wanted[subject] = None
        if self._open:
            count = self._count

            def listening() -> None:
                if subject in self._wanted and subject not in self.heard and self._count == count:
                    self.heard.append(subject)
                self._arriving(Listening(subject), count)

            self._send(listening)

    def leave(self, subject: Subject) -> None:
        self._wanted.pop(subject, None)
        if subject in self.heard:
            self.heard.remove(subject)

    async def publish(self, messages: Sequence[Message]) -> None:
        await trio.lowlevel.checkpoint()
        if not self.connected:
            raise BusUnavailable("not connected")
        confirmed = trio.Event()
        count = self._count

        def arrive() -> None:
            for message in messages:
                self._broker.route(message)
            if self._count == count:
                self._broker.world.at(self._way(), confirmed.set)

        self._send(arrive)
        with trio.move_on_after(self._settings.nats_publish_s):
            await confirmed.wait()
        if not confirmed.is_set():
            raise BusUnavailable("not confirmed in time")

    def tell(self, message: Message) -> None:
        if self._open:
            self._send(lambda: self._broker.route(message))

    async def receive(self) -> Sequence[Event]:
        await self._arrived.wait()
        self._arrived = trio.Event()
        events = list(self._events)
        self._events.clear()
        for one in events:
            if isinstance(one, (Up, Down)):
                self.connected = isinstance(one, Up)
        return events

    # -- what is done to it

    def lose(self, why: str) -> None:
        """The connection is gone, and what was on its way over it."""
        self._held.clear()
        self._lost.set()

    def part(self) -> None:
        """Nothing passes from now on. Pings find that out."""
        self.cut = True
        count = self._count

        def find_out() -> None:
            if self.cut and self._count == count:
                self.lose("two pings were not answered")

        self._broker.world.at(self._settings.nats_ping_s * self._chance.uniform(2, 3), find_out)

    def heal(self) -> None:
        """Where nobody has found out, what was on its way arrives now."""
        self.cut = False
        held, self._held = self._held, []
        for one in held:
            one()
        self._broker._tell()

    # -- on its way

    def _reachable(self) -> bool:
        return self._broker.up and not self.cut

    def _way(self) -> float:
        return self._broker.weather.slow_s * self._chance.random()

    def _send(self, do: Callable[[], None]) -> None:
        """To the broker, in order, over this connection; whoever sent it may end meanwhile."""
        if not self._life.alive:
            return
        count = self._count

        def arrive() -> None:
            if self._count != count or self._lost.is_set():
                return
            if self.cut:
                self._held.append(arrive)
            else:
                do()

        world = self._broker.world
        when = self._newest_out = max(self._newest_out, world.now + self._way())
        world.at(when - world.now, arrive)

    def arrive_in_order(self, delay_s: float, message: Message) -> None:
        world = self._broker.world
        when = self._newest_in = max(self._newest_in, world.now + delay_s)
        world.at(when - world.now, self.arriving(message))

    def arriving(self, message: Message) -> Callable[[], None]:
        count = self._count
        return lambda: self._arriving(message, count)

    def _arriving(self, event: Event, count: int) -> None:
        if self._count != count or self._lost.is_set():
            return
        if self.cut:
            self._held.append(lambda: self._arriving(event, count))
        else:
            self._hear(event)

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        self._arrived.set()


def _fits(pattern: str, subject: str) -> bool:
    if pattern == subject:
        return True
    wanted, given = pattern.split("."), subject.split(".")
    return (
        "*" in wanted
        and len(wanted) == len(given)
        and all(one in ("*", two) for one, two in zip(wanted, given, strict=True))
    )
