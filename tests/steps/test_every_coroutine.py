"""Every public coroutine is cancelled at every step, and does what its docstring says of that."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import CodeType, FrameType

import pytest
import trio
from trio.testing import MockClock

from sie.testing.steps import cancel_at_every_step
from tests.steps.table import CASES, Case, Place, code_of, load, public_coroutines

load()

_LISTENER = (
    *(f"connection:Connection.{one}" for one in ("more_of_body", "write", "finish_write")),
    *(f"websocket:WebSocket.{one}" for one in ("run", "receive", "send")),
    "exchange:Exchange.receive",
    "watch:PeekWatch.run",
)

# What is not cancelled here, and why.
EXCUSED = {
    "sie.bus.farside:FarSide.live": "runs on asyncio's loop in another thread, where Trio cancels nothing; its end is "
    "asked for by Bridge.run, which is cancelled here",
    **{
        f"sie.listener.{name}": "half of a conversation over a socket: its connection is cancelled, hung up "
        "on and cut at each of its waits in tests/listener"
        for name in _LISTENER
    },
    "sie.caller.caller:Caller.sweep": "closes what is late or idle, and awaits nothing but the next look; tests/caller",
    "sie.caller.wire:PlainWire.send": "waits for a server that reads slowly; cancelled in tests/caller",
    **{
        f"sie.caller.wire:TLSWire.{name}": "needs a certificate; cancelled in tests/caller/test_tls.py"
        for name in ("send", "receive")
    },
    "sie.router.handshake:HandshakeStream.wait_send_all_might_not_block": "passes the question on; nobody asks it",
    "sie.router.proxy:Proxy.answer": "needs a whole router; it waits for Forwarder.ask, cancelled here, and "
    "tests/router/test_proxy.py hangs up on it",
    **{
        f"sie.worker.device:ThreadedDevice.{name}": "needs torch; Lane.run, in which it waits, is cancelled here"
        for name in ("memory_bytes", "find", "load")
    },
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Place:
    return Place.of(tmp_path, monkeypatch, request)


def test_every_one_is_cancelled_here_or_excused_with_a_reason() -> None:
    public, cancelled = set(public_coroutines()), {name for one in CASES for name in one.names}
    assert public - cancelled - set(EXCUSED) == set(), "neither a case in tests/steps/cases nor an excuse"
    assert (cancelled | set(EXCUSED)) - public == set(), "there is none of this name"
    assert cancelled & set(EXCUSED) == set(), "excused, and has a case"
    assert all(len(reason) > 20 for reason in EXCUSED.values())


@pytest.mark.parametrize("one", [pytest.param(one, id=one.label, marks=one.marks) for one in CASES])
def test_cancelled_at_every_step(one: Case, place: Place, seed: int) -> None:
    async def try_out() -> int:
        assert await _run_by(one, place) >= {code_of(name) for name in one.names}, "not all that it names has run"
        return await cancel_at_every_step(partial(one.world, place), whose=one.whose, seed=seed)

    steps = trio.run(try_out, clock=MockClock(autojump_threshold=0) if one.jumps else None)
    assert steps > 0, "there was nothing to cancel"


@pytest.mark.slow
@pytest.mark.parametrize("one", [pytest.param(one, id=one.label) for one in CASES if one.jumps])
def test_in_many_orders(one: Case, place: Place, seed: int) -> None:
    for more in range(10):
        loop = partial(cancel_at_every_step, partial(one.world, place), whose=one.whose, seed=seed + more)
        trio.run(loop, clock=MockClock(autojump_threshold=0))


async def _run_by(one: Case, place: Place) -> set[CodeType]:
    """What runs, in Trio's thread, when nobody cancels."""
    run: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            run.add(frame.f_code)

    async with one.world(place) as trial:
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            await trial.act()
        finally:
            sys.setprofile(before)
    return run
