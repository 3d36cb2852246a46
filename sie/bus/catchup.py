"""Catching up over the bus: asking a router, and, in a router, answering. Page by page, each asked for."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import trio

from sie.bus.broker import BrokerLink
from sie.bus.events import Message, Subject
from sie.bus.ignored import Ignored
from sie.errors import BusUnavailable, SieError
from sie.settings import Settings
from sie.wire.sealed import NotOurs
from sie.wire.sync import (
    ANY_SUBJECT,
    Pages,
    SyncReply,
    SyncRequest,
    read_request,
    sync_subject,
    write_reply,
    write_request,
)
from sie.worker.follow import CaughtUp, Part

log = logging.getLogger(__name__)

# Routers share the requests. Each works on this many at once; beyond those that wait, askers have to ask again.
ROUTERS = Subject(ANY_SUBJECT, group="sie-routers")
_ANSWERING = 4
_WAITING = 64

_INBOXES = "_INBOX."
_NEXT = b"next"
_NOBODY = b""  # as NATS itself answers where nobody listens; and as anybody can
_ALONE = "nobody is there to answer"
_DOUBT_S = 1.0  # with SIE_BUS_KEY, that nobody is there may be a lie: what a router takes to look into its store

AnswerSync: TypeAlias = Callable[[SyncRequest], Awaitable[CaughtUp]]


# Answers to one question that wait to be looked at: one is right, and a crowd of wrong ones must not fill the memory.
_ANSWERS_MOST = 16

_Turn: TypeAlias = tuple[trio.MemorySendChannel[Message], trio.MemoryReceiveChannel[Message]]


class CatchUp:
    """Both ends of catching up. `take` is given every message that comes to `inbox`, `take_request` to ROUTERS."""

    def __init__(self, bridge: BrokerLink, settings: Settings, *, key: bytes | None, ignored: Ignored) -> None:
        self._bridge = bridge
        self._settings = settings
        self._key = key
        self._ignored = ignored
        self._address = f"{_INBOXES}{secrets.token_hex(12)}"  # nobody else's, and not to be guessed
        self._numbers = itertools.count()
        self._turns: dict[str, _Turn] = {}
        self._requests, self._waiting = trio.open_memory_channel[Message](_WAITING)

    @property
    def inbox(self) -> Subject:
        return Subject(f"{self._address}.*")

    def take(self, message: Message) -> bool:
        """Whether the message was for here."""
        if not message.subject.startswith(self._address):
            return False
        turn = self._turns.get(message.subject)
        if turn is not None:
            with suppress(trio.WouldBlock):
                turn[0].send_nowait(message)
        elif message.reply.startswith(_INBOXES):
            self._bridge.tell(Message(message.reply, _NOBODY))  # who asked has given up; spare them the wait
        return True

    def take_request(self, message: Message) -> None:
        try:
            self._requests.send_nowait(message)
        except trio.WouldBlock:
            log.warning("too many ask to catch up at once; some have to ask again")
            if message.reply.startswith(_INBOXES):
                self._bridge.tell(Message(message.reply, _NOBODY))  # at once, or at another router

    async def ask(self, request: SyncRequest, *, subject: str | None = None) -> CaughtUp:
        """`subject`: of one router; None for any.

        Raises BusUnavailable: not connected, no router, none that could answer, or silence for SIE_NATS_SYNC_S.
        """
        subject = subject or sync_subject(request.bundle)
        nonce = secrets.token_hex(12)
        pages = Pages(nonce, self._key, self._settings.nats_sync_bytes)
        question = write_request(request, subject=subject, nonce=nonce, key=self._key)
        page = await self._talk(subject, question, pages.add)
        while not pages.complete:
            page = await self._talk(page.reply, _NEXT, pages.add)
        try:
            reply = await trio.to_thread.run_sync(pages.reply)
        except NotOurs as fault:
            self._ignored.note(fault)
            raise BusUnavailable(f"the answer to a request to catch up was none: {fault}") from None
        if reply.refused:
            raise BusUnavailable(f"the router that was asked to catch up by cannot answer: {reply.refused}")
        return CaughtUp(
            parts=[
                Part(store=store, revision=revision, whole=whole, models=models)
                for store, revision, whole, models in reply.parts
            ]
        )

    async def answer_all(self, answer: AnswerSync) -> None:
        """Answer requests until cancelled. A SieError that `answer` raises is told to the asker."""
        async with trio.open_nursery() as answering:
            for _ in range(_ANSWERING):
                answering.start_soon(self._answer_some, answer)

    async def _answer_some(self, answer: AnswerSync) -> None:
        while True:
            message = await self._waiting.receive()
            try:
                await self._answer_one(message, answer)
            except NotOurs as fault:
                self._ignored.note(fault)
            except BusUnavailable as fault:
                log.debug("somebody stopped catching up: %s", fault)

    async def _answer_one(self, message: Message, answer: AnswerSync) -> None:
        limit = self._settings.nats_message_bytes
        request, nonce = read_request(message.content, subject=message.subject, key=self._key, limit=limit)
        if not message.reply.startswith(_INBOXES):
            raise NotOurs("malformed", "an answer goes to an inbox, and to nowhere else")
        reply = await _reply(request, answer)
        write = partial(write_reply, reply, nonce=nonce, key=self._key, limit=min(self._bridge.limit, limit))
        *pages, last = await trio.to_thread.run_sync(write)
        asker = message.reply
        for page in pages:  # the next one only when it is asked for: an answer may be larger than what NATS holds
            asker = (await self._talk(asker, page)).reply
        await self._bridge.publish([Message(asker, last)])

    async def _talk(self, subject: str, content: bytes, take: Callable[[bytes], None] | None = None) -> Message:
        """Say something and hear the answer; one that `take` refuses with NotOurs is not it, and another may come.

        Raises BusUnavailable, after SIE_NATS_SYNC_S at the latest.
        """
        here, alone = f"{self._address}.{next(self._numbers)}", False
        turn = self._turns[here] = trio.open_memory_channel[Message](_ANSWERS_MOST)
        try:
            with trio.move_on_after(self._settings.nats_sync_s) as patience, turn[0], turn[1]:
                await self._bridge.publish([Message(subject, content, reply=here)])
                async for answer in turn[1]:
                    if answer.content == _NOBODY:
                        if self._key is None:
                            raise BusUnavailable(_ALONE)
                        alone = True
                        patience.deadline = min(patience.deadline, trio.current_time() + _DOUBT_S)
                        continue
                    try:
                        if take is not None:
                            take(answer.content)
                    except NotOurs as fault:
                        self._ignored.note(fault)
                        continue
                    return answer
        finally:
            del self._turns[here]
        raise BusUnavailable(_ALONE if alone else f"no answer within {self._settings.nats_sync_s:g} s")


async def _reply(request: SyncRequest, answer: AnswerSync) -> SyncReply:
    try:
        known = await answer(request)
    except SieError as fault:
        return SyncReply(refused=fault.message)
    except Exception:
        # One request in a form nobody foresaw must not end the answers to all others.
        log.exception("a request to catch up on %s failed in a way nobody foresaw", request.bundle)
        return SyncReply(refused="an internal error, told in its log")
    return SyncReply(parts=[(one.store, one.revision, one.whole, one.models) for one in known.parts])
