"""One WebSocket: wsproto's frames, and what an ASGI app receives and sends."""

from __future__ import annotations

import base64
import binascii
import logging
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

import trio
from wsproto import events as frames
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.utilities import generate_accept_token

from sie.listener.asgi import Message
from sie.listener.exchange import Exchange, scope_of
from sie.listener.faults import log_fault
from sie.listener.head import write_switch
from sie.listener.parser import Fault

if TYPE_CHECKING:
    from sie.listener.connection import Connection
    from sie.listener.parser import Request

log = logging.getLogger(__name__)

_VERSION = b"13"
_READ_BYTES = 16 * 1024  # at a time: so many of the smallest frames take some 20 ms, in which nobody else is served


class _State(Enum):
    ASKED = "the app has not said yes or no"
    OPEN = "accepted"
    CLOSED = "no message goes either way"


class WebSocket:
    """Made for each request for one, and the last on its connection."""

    # Messages that were received before the end are the app's still, and then it is told.
    hears_of_the_end = True
    ends_with_connection = False

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._state = _State.ASKED
        self._headers = dict(request.headers)
        self._frames = Frames(ConnectionType.SERVER)
        self._received: deque[Message] = deque([{"type": "websocket.connect"}])
        self._pieces: list[bytes] = []
        self._size = 0
        self._refusal: Exchange | None = None

    async def run(self) -> bool:
        """From the handshake to the closing one. Always false: no request comes after it."""
        connection, request = self._connection, self._request
        fault = _fault_of(request, self._headers)
        if fault is not None:
            await connection.write(connection.plain(fault, (b"sec-websocket-version", _VERSION)))
            return False
        if connection.parser.after_upgrade:
            self._frames.receive_data(connection.parser.after_upgrade)
        scope = scope_of(connection, request, "websocket")
        asked = self._headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
        scope["subprotocols"] = [one.strip() for one in asked.split(",") if one.strip()]
        scope["extensions"]["websocket.http.response"] = {}
        failed = False
        try:
            await connection.app(scope, self.receive, self.send)
        except Exception as error:
            if not connection.gone:
                log_fault(log, f"the WebSocket {request.path[:200]!r} ended in an error", error)
            failed = True
        if self._state is _State.ASKED:
            await connection.write(connection.plain(Fault(500, "Internal Server Error")))
        elif self._state is _State.OPEN:
            await self._close(1011 if failed else 1000, "")
        elif self._refusal is not None and not self._refusal.ended:
            connection.cut("an answer was left unfinished")
            await trio.lowlevel.checkpoint()
        return False

    async def receive(self) -> Message:
        """The next message, put together. Cancelled: nothing is lost."""
        parked = False
        while not self._received:
            if self.peek():
                await trio.lowlevel.checkpoint()
            else:
                parked = True
                await self._connection.park(for_bytes=True)
        if not parked:  # a client that sends without pause would keep all others waiting
            await trio.lowlevel.checkpoint()
        if self._received[0]["type"] == "websocket.disconnect":
            self._connection.leave()
            return self._received[0]
        return self._received.popleft()

    async def send(self, message: Message) -> None:
        """Raises RuntimeError or ValueError for what does not belong here. After the end, messages are dropped."""
        match message["type"], self._state:
            case "websocket.accept", _State.ASKED:
                await self._accept(message)
            case "websocket.close", _State.ASKED:
                self._end(1006)
                await self._connection.write(self._connection.plain(Fault(403, "Forbidden")))
            case "websocket.http.response.start" | "websocket.http.response.body", _:
                await self._refuse(message)
            case "websocket.close", _State.OPEN:
                await self._close(message.get("code", 1000), message.get("reason") or "")
            case "websocket.send", _State.OPEN:
                content = message.get("bytes")
                event = frames.TextMessage(message["text"]) if content is None else frames.BytesMessage(content)
                await self._connection.write(self._frames.send(event))
                await trio.lowlevel.checkpoint()
            case (("websocket.close" | "websocket.send"), _State.CLOSED):
                await trio.lowlevel.checkpoint()
            case kind, state:
                raise RuntimeError(f"{kind!r} while {state.value}")

    def peek(self) -> bool:
        """Take what has come, unless the app is behind: pings are answered though nobody receives. False if there is
        nothing to take."""
        if self._state is _State.ASKED and self._connection.gone:
            self._end(1006)
        if self._state is not _State.OPEN or self._received:
            return False
        received = self._connection.receive(_READ_BYTES)
        if received:
            self._frames.receive_data(received)
            self._take_frames()
        elif received is not None:
            self._end(1006)
        return received is not None

    def finish(self) -> None:
        """The listener stops, and a WebSocket would not end by itself."""
        if self._state is _State.OPEN:
            self._fail(1001, "the server stops")
            self._connection.wake()

    async def _accept(self, message: Message) -> None:
        accept = generate_accept_token(self._headers[b"sec-websocket-key"])
        head = write_switch(accept, message.get("subprotocol"), message.get("headers", ()))
        self._state = _State.OPEN
        await self._connection.write(head)
        self._take_frames()
        self._connection.wake()
        if self._connection.finishing:
            self.finish()

    async def _refuse(self, message: Message) -> None:
        """The answer that a request which is no WebSocket would get: an extension of ASGI."""
        if self._refusal is None:
            if self._state is not _State.ASKED:
                raise RuntimeError(f"a refusal while {self._state.value}")
            self._request.keep_alive = False
            self._refusal = Exchange(self._connection, self._request)
            self._end(1006)
        await self._refusal.send({**message, "type": message["type"].removeprefix("websocket.")})

    def _take_frames(self) -> None:
        for event in self._frames.events():
            match event:
                case frames.TextMessage() | frames.BytesMessage():
                    self._take(event)
                case frames.Ping():
                    self._connection.write_now(self._frames.send(event.response()))
                case frames.CloseConnection():
                    if self._frames.state is not ConnectionState.CLOSED:
                        self._connection.write_now(self._frames.send(event.response()))
                    self._end(event.code, event.reason or "")
            if self._state is _State.CLOSED:
                return

    def _take(self, event: frames.TextMessage | frames.BytesMessage) -> None:
        content = event.data.encode() if isinstance(event, frames.TextMessage) else bytes(event.data)
        self._size += len(content)
        if self._size > self._connection.limits.websocket_bytes:
            self._fail(1009, "the message is too large")
            return
        self._pieces.append(content)
        if event.message_finished:
            whole = b"".join(self._pieces)
            self._pieces, self._size = [], 0
            text = isinstance(event, frames.TextMessage)
            self._received.append(
                {"type": "websocket.receive", "text": whole.decode()}
                if text
                else {"type": "websocket.receive", "bytes": whole}
            )

    def _fail(self, code: int, reason: str) -> None:
        self._connection.write_now(self._frames.send(frames.CloseConnection(code, reason)))
        self._end(code, reason)

    async def _close(self, code: int, reason: str) -> None:
        content = self._frames.send(frames.CloseConnection(code, reason))
        self._end(code, reason)
        self._connection.wake()
        await self._connection.write(content)

    def _end(self, code: int, reason: str = "") -> None:
        self._state = _State.CLOSED
        self._received.append({"type": "websocket.disconnect", "code": int(code), "reason": reason})


def _fault_of(request: Request, headers: dict[bytes, bytes]) -> Fault | None:
    if request.method != "GET" or request.version != "1.1":
        return Fault(400, "A WebSocket begins with a GET of HTTP/1.1")
    if headers.get(b"sec-websocket-version") != _VERSION:
        return Fault(426, "Version 13 of WebSockets is spoken here")
    try:
        key = base64.b64decode(headers.get(b"sec-websocket-key", b""), validate=True)
    except binascii.Error:
        key = b""
    return None if len(key) == 16 else Fault(400, "The WebSocket's key is none")
