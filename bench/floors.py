"""The parts of which one POST is made, each alone: what the disk, NATS and a WebSocket ask for, and nothing else.

`python -m bench.floors near NATS_URL` and `… far NATS_URL WEBSOCKET_PORT`: two processes, of which the near one does
what its parent tells it (`append`, `publish`, `say`) and the far one tells when it has received.
"""

from __future__ import annotations

import itertools
import sys
import time
from functools import partial

import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, open_websocket_url, serve_websocket

from bench.child import say
from bench.made import STATUS, entry, message
from bench.orders import obey, obey_nothing
from sie.bus.bridge import Bridge
from sie.bus.events import Listening, Message, Subject, Up
from sie.bus.servers import read_servers
from sie.program import SWITCH_INTERVAL_S
from sie.settings import Settings
from sie.store.open import open_store

_SUBJECT = "bench.floor"
_HOST = "127.0.0.1"


async def near(nats_url: str) -> None:
    """Append to the store that SIE_CONFIG_STORE_DIR names, publish, or send a message, each when told to."""
    bridge = _bridge(nats_url, "near")
    store = await open_store(Settings.from_environment())
    revisions = itertools.count(1)
    linked: list[WebSocketConnection] = []

    async def accept(request: WebSocketRequest) -> None:
        linked.append(await request.accept())
        await trio.sleep_forever()

    async def carry_out(order: str) -> None:
        match order:
            case "append":
                one = entry("bench/floor", next(revisions))
                began = time.monotonic_ns()
                await store.append(one)
            case "publish":
                one_message = Message(_SUBJECT, message("bench/floor", 1))
                began = time.monotonic_ns()
                await bridge.publish([one_message])
            case _:
                began = time.monotonic_ns()
                await linked[0].send_message(STATUS)
        say(began=began, ended=time.monotonic_ns())

    async with trio.open_nursery() as nursery:
        await nursery.start(bridge.run)
        server = await nursery.start(partial(serve_websocket, accept, _HOST, 0, None))
        nursery.start_soon(_hear_nothing, bridge)
        say(ready=True, port=server.port)
        await obey(carry_out)
        nursery.cancel_scope.cancel(reason="told to end")
    await store.aclose()


async def far(nats_url: str, port: int) -> None:
    """Tell of everything that arrives, and when."""
    bridge = _bridge(nats_url, "far")
    listening = trio.Event()

    async def hear_nats() -> None:
        while True:
            for event in await bridge.receive():
                if isinstance(event, Message):
                    say(heard=time.monotonic_ns())
                elif isinstance(event, Listening | Up):
                    listening.set()

    async def hear_websocket(connection: WebSocketConnection) -> None:
        while True:
            await connection.get_message()
            say(heard=time.monotonic_ns())

    async with open_websocket_url(f"ws://{_HOST}:{port}/") as connection, trio.open_nursery() as nursery:
        await nursery.start(bridge.run)
        nursery.start_soon(hear_nats)
        nursery.start_soon(hear_websocket, connection)
        bridge.listen(Subject(_SUBJECT))
        await listening.wait()
        say(ready=True)
        await obey_nothing()
        nursery.cancel_scope.cancel(reason="told to end")


async def _hear_nothing(bridge: Bridge) -> None:
    while True:
        await bridge.receive()


def _bridge(nats_url: str, name: str) -> Bridge:
    settings = Settings(nats_url=nats_url)
    return Bridge(read_servers(settings), settings, name=name)


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as every process of ours
    if sys.argv[1] == "near":
        trio.run(near, sys.argv[2])
    else:
        trio.run(far, sys.argv[2], int(sys.argv[3]))
