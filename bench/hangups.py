"""Clients that do not behave, and what it costs the device and the others: `python -m bench hangups`.

Hung up: many clients send a request each to `sie serve` with a real model and then all close their connections,
before the server can have read much, or when the requests have been waiting for a while. What the device did after that
until it was at rest again stands beside one full batch: the 8192 tokens that a profile lets into one, in however many
the server cuts them. It counts whole the batch that was running then, and one text that is asked for right after them,
whose time stands beside that of a text that comes to a server at rest.

Slow: while some clients read a large answer, and some send a large request, a little at a time, another client asks
for one text after the other; the model costs nothing, so that nothing but the server itself is in its way.
"""

from __future__ import annotations

import random
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import click
import msgpack

from bench.child import Child
from bench.load.asking import Asking
from bench.load.target import Target
from bench.pictures import Bars, Picture
from bench.report import plots_option, report
from bench.served import idle, serving, target_at, work_of
from bench.texts import text, words

TOKENS = 16
FULL = 512  # texts of so many tokens make a batch of 8192, the default budget
_PATIENCE_S = 60
_REST_S = 0.3
PAUSES_S = (0.0, 0.5)  # until they hang up


@dataclass(frozen=True, slots=True, kw_only=True)
class HungUp:
    """One round. `pause_s`: from sent to hung up. `full_s`, `full_batches`: a full batch, and in how many it was run.
    `batches`, `items`, `device_s`: what the device did after. `probe_ms`, `idle_ms`: one text right after, and at rest.
    """

    pause_s: float
    full_s: float
    full_batches: float
    batches: float
    items: float
    device_s: float
    probe_ms: float
    idle_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowed:
    """One round: the median latency of one client alone, and beside slow ones. `alive`: how many of them there were
    at its end."""

    alone_ms: float
    beside_ms: float
    alive: int


class Texts:
    """Requests of new texts, each different from all before."""

    def __init__(self, target: Target, chance: random.Random) -> None:
        self._target = target
        self._words = words()
        self._chance = chance

    def one(self) -> bytes:
        return self._target.request(self._text())

    def full(self) -> bytes:
        body: bytes = msgpack.packb({"items": [{"text": self._text()} for _ in range(FULL)]})
        head, _, _ = self._target.request("").partition(b"content-length: ")
        return head + b"content-length: %d\r\n\r\n" % len(body) + body

    def _text(self) -> str:
        return text(TOKENS, self._words, self._chance)


def ask(target: Target, request: bytes) -> float:
    """ms it took, on a connection of its own. Raises RuntimeError for what is no 200."""
    with socket.create_connection((target.host, target.port), timeout=_PATIENCE_S) as sock:
        began = time.perf_counter()
        sock.sendall(request)
        content = b""
        while b"\r\n\r\n" not in content:
            if not (piece := sock.recv(1 << 20)):
                raise RuntimeError("hung up on")
            content += piece
        if not content.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not an answer: {content[:300]!r}")
        return 1000 * (time.perf_counter() - began)


def hang_up(target: Target, texts: Texts, clients: int, pause_s: float) -> HungUp:
    """All connect, all send, all close after the pause; then one asks."""
    before = idle(target)
    ask(target, texts.full())
    full = idle(target)
    idle_ms = ask(target, texts.one())
    requests, probe = [texts.one() for _ in range(clients)], texts.one()
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection((target.host, target.port), timeout=_PATIENCE_S))
            for _ in range(clients)
        ]
        begun = idle(target)
        for sock, request in zip(sockets, requests, strict=True):
            sock.sendall(request)
        if pause_s:
            time.sleep(pause_s)
            begun = work_of(target)
    probe_ms = ask(target, probe)
    ended = idle(target)
    return HungUp(
        pause_s=pause_s,
        full_s=full.seconds - before.seconds,
        full_batches=full.batches - before.batches,
        batches=ended.batches - begun.batches,
        items=ended.items - begun.items,
        device_s=ended.seconds - begun.seconds,
        probe_ms=probe_ms,
        idle_ms=idle_ms,
    )


def slow_down(asking: Asking, target: Target, slow: Child, seconds: float, *, slow_first: bool) -> Slowed:
    """One client alone and beside slow ones, in either order."""

    def third() -> float:
        time.sleep(_REST_S)
        return asking.closed(target, "short", connections=1, seconds=seconds).p50_ms

    found: dict[str, float] = {}
    alive = 0
    for beside in (slow_first, not slow_first):
        if beside:
            slow.ask("begin")
            found["beside_ms"] = third()
            alive = slow.ask("end")["alive"]
        else:
            found["alone_ms"] = third()
    return Slowed(**found, alive=alive)


def ratios_of(hung: Sequence[HungUp], slowed: Sequence[Slowed]) -> Mapping[str, Sequence[float]]:
    found = {}
    for pause_s in PAUSES_S:
        of, when = [one for one in hung if one.pause_s == pause_s], f"hung up after {pause_s:g} s"
        found[f"{when}: device time afterwards / one full batch"] = [one.device_s / one.full_s for one in of]
        found[f"{when}: one text right after / one full batch"] = [one.probe_ms / 1000 / one.full_s for one in of]
    return {**found, "slow: another client beside them / alone": [one.beside_ms / one.alone_ms for one in slowed]}


def text_of(hung: Sequence[HungUp], slowed: Sequence[Slowed], clients: int, slow: int) -> str:
    def median(rounds: Sequence[HungUp] | Sequence[Slowed], name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in rounds))

    lines = [
        f"{clients} clients send a text of {TOKENS} tokens each and hang up; medians of {len(hung) // 2} rounds",
        f"{f'  one full batch, {FULL} such texts':<44}{1000 * median(hung, 'full_s'):>9.1f} ms of the device, "
        f"run in {median(hung, 'full_batches'):.0f}",
        f"{'  one text at rest':<44}{median(hung, 'idle_ms'):>9.1f} ms",
    ]
    for pause_s in PAUSES_S:
        of, when = [one for one in hung if one.pause_s == pause_s], f"  hung up {pause_s:g} s after they sent:"
        lines += [
            f"{f'{when} afterwards':<44}{1000 * median(of, 'device_s'):>9.1f} ms of the device, "
            f"{median(of, 'batches'):.0f} batches, {median(of, 'items'):.0f} texts   target: less than a full batch",
            f"{'    one text right after':<44}{median(of, 'probe_ms'):>9.1f} ms",
        ]
    alive = min(one.alive for one in slowed)
    lines += [
        "",
        f"{slow} clients read slowly, {slow} write slowly; another asks for one text at a time; medians of "
        f"{len(slowed)} rounds",
        f"{'  p50 of the other, alone':<44}{median(slowed, 'alone_ms'):>9.2f} ms",
        f"{'  p50 of the other, beside them':<44}{median(slowed, 'beside_ms'):>9.2f} ms",
        f"  still served at the end of a round: {alive} of the {2 * slow} slow ones at least",
        "",
    ]
    lines += [f"{what:<64}{statistics.median(of):>8.2f}" for what, of in ratios_of(hung, slowed).items()]
    return "\n".join(lines)


def pictures_of(hung: Sequence[HungUp], slowed: Sequence[Slowed]) -> Sequence[Picture]:
    groups = {}
    for pause_s in PAUSES_S:
        of = [one for one in hung if one.pause_s == pause_s]
        groups[f"{pause_s:g} s after\nthey sent"] = {
            "device time afterwards": statistics.median(one.device_s / one.full_s for one in of),
            "one text right after": statistics.median(one.probe_ms / 1000 / one.full_s for one in of),
        }
    other = {
        "alone": {"p50": statistics.median(one.alone_ms for one in slowed)},
        "beside\nslow ones": {"p50": statistics.median(one.beside_ms for one in slowed)},
    }
    return [
        Bars(title="clients that hang up", up="of one full batch", groups=groups, level=(1, "a full batch")),
        Bars(title="another client", up="ms (p50)", groups=other),
    ]


@click.command()
@click.option("--clients", default=1000, show_default=True, help="That hang up.")
@click.option("--slow", default=4, show_default=True, help="That read slowly, and as many that write slowly.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of the other client, alone and beside slow ones.")
@click.option("--seed", type=int, help="Of texts and order; default: another each time.")
@click.option("--save/--no-save", default=False, help="Put the result to bench/results.")
@plots_option
def main(
    clients: int, slow: int, rounds: int, seconds: float, seed: int | None, save: bool, plots: bool | None
) -> None:
    """What it costs when clients hang up, or take their time."""
    seed = seed if seed is not None else random.randrange(10**6)
    chance = random.Random(seed)
    with serving() as served:
        target = target_at(served.address)
        texts = Texts(target, chance)
        turns = [pause_s for pause_s in PAUSES_S for _ in range(rounds)]
        hung = [hang_up(target, texts, clients, pause_s) for pause_s in chance.sample(turns, len(turns))]
    with ExitStack() as stack:
        server = stack.enter_context(Child("bench.costless"))
        target = target_at(server.ready["address"])
        slow_ones = stack.enter_context(Child("bench.slow", target.host, str(target.port), str(slow)))
        asking = Asking(stack)
        asking.closed(target, "short", connections=1, seconds=1)
        slowed = [
            slow_down(asking, target, slow_ones, seconds, slow_first=chance.random() < 0.5) for _ in range(rounds)
        ]
    ratios = ratios_of(hung, slowed)
    figures = {
        "clients": clients,
        "slow": slow,
        "hung_up": [asdict(one) for one in hung],
        "slowed": [asdict(one) for one in slowed],
    }
    report(
        "hangups",
        f"{text_of(hung, slowed, clients, slow)}\nseed {seed}",
        figures,
        save=save,
        seed=seed,
        ratios=ratios,
        pictures=pictures_of(hung, slowed),
        plots=plots,
    )


if __name__ == "__main__":
    main()
