# Rule: nothing here awaits, reads a clock, or knows a transport. A test enforces it.
"""Which worker a request goes to, of those that may serve it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sie.errors import GpuNotConfigured
from sie.wire.status import WorkerStatus

_SPOT = "-spot"


def asked_machine(header: str | None) -> str | None:
    """The machine profile in an X-SIE-MACHINE-PROFILE header, in lower case, without the pool that may stand before it.

    None if nothing is asked for.
    """
    first, slash, rest = (header or "").partition("/")
    return (rest if slash else first).strip().lower() or None


def machines_for(asked: str, configured: Collection[str]) -> frozenset[str]:
    """The machine profiles that will do: the one asked for, or its spot form where that is all there is to have.

    `configured` empty: nobody said what there is, so both forms will do. Raises GpuNotConfigured.
    """
    spot = asked if asked.endswith(_SPOT) else asked + _SPOT
    known = {one.lower() for one in configured}
    if not known:
        return frozenset({asked, spot})
    for one in (asked, spot):
        if one in known:
            return frozenset({one})
    raise GpuNotConfigured(
        f"this cluster has no machine profile {asked[:100]!r}; it has {', '.join(sorted(configured))}",
        gpu=asked[:100],
        configured_gpu_types=sorted(configured),
    )


def on_machines(workers: Sequence[WorkerStatus], machines: Collection[str] | None) -> Sequence[WorkerStatus]:
    """Those that run on one of the machine profiles; all of them if none is asked for."""
    if machines is None:
        return workers
    return [one for one in workers if one.machine_profile.lower() in machines]


def best(
    workers: Sequence[WorkerStatus], *, names: frozenset[str], in_flight: Mapping[str, int], turn: int
) -> WorkerStatus:
    """Of one or more: the model (under any of `names`) is resident, then the least loaded, then whose turn it is.

    Loaded: what the worker last said waits there, and what this router has sent it since (`in_flight`, by key).
    The best that are equal in both share the turns: whoever counts `turn` up by one gets another of them.
    """

    least: tuple[bool, int] | None = None
    equals: list[WorkerStatus] = []
    for worker in workers:
        rank = names.isdisjoint(worker.loaded_models), worker.queue_depth + in_flight.get(worker.key, 0)
        if least is None or rank < least:
            least, equals = rank, [worker]
        elif rank == least:
            equals.append(worker)
    return equals[turn % len(equals)]
