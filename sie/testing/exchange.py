"""Whole HTTP/1.1 messages over a stream: requests read, answers awaited, both ready to be sent on."""

from __future__ import annotations

from dataclasses import dataclass

import h11
import trio

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """One with all of its body."""

    head: h11.Request
    body: bytes


async def read_request(client: trio.SocketStream, connection: h11.Connection) -> Request | None:
    """A whole one; None if the client ends instead."""
    head: h11.Request | None = None
    body = b""
    while not isinstance(event := await next_event(client, connection), h11.EndOfMessage):
        if isinstance(event, h11.Request):
            # Answered here, so the server need not be asked to.
            kept = [(name, value) for name, value in event.headers.raw_items() if name.lower() != b"expect"]
            head = h11.Request(method=event.method, target=event.target, headers=kept)
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            return None
        if connection.they_are_waiting_for_100_continue:
            await client.send_all(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    assert head is not None
    return Request(head, body)


async def next_event(stream: trio.SocketStream, connection: h11.Connection) -> h11.Event:
    """What comes next. Raises h11.RemoteProtocolError for what is no HTTP/1.1, BrokenResourceError for a breach."""
    while not isinstance(event := connection.next_event(), h11.Event):
        if event is h11.PAUSED:
            raise trio.BrokenResourceError("it went over to another protocol; open the proxy without a plan")
        connection.receive_data(await stream.receive_some(_CHUNK))
    return event


def events(head: h11.Request | h11.Response, body: bytes) -> list[h11.Event]:
    """A whole message, to be sent."""
    return [head, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
