"""One change, POST to response: read -> judged -> persisted -> applied -> published -> followed -> acked -> answered.

Read this file first. It is the protocol, top to bottom; queues, sockets and nurseries live elsewhere and only call it.

    client ── POST ──▶ answer_post ──▶ fulfil ──▶ store       (the truth: a log of put-if-absent entries)
                            ▲             └─────▶ bus          (a hint: losing it costs time, never content)
                            │                      ▼
                            └── fleet ◀─ status ── keep_bundle_current   (one task a bundle, in a worker)
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from sie.catalog.change import Change, read_change
from sie.catalog.judge import judge
from sie.errors import BusUnavailable, RevisionTaken
from sie.router.fleet import Needed

if TYPE_CHECKING:
    from sie.bus.contract import Bus, Hint
    from sie.router.fleet import Acks, Fleet
    from sie.router.head import Head
    from sie.router.writer import Writer
    from sie.worker.follow import BundleCatalog, CatchUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the writer is asked to do: the change, the client's Idempotency-Key, and whether it is only a rehearsal."""

    change: Change
    key: str | None = None
    dry_run: bool = False
    lenient: bool = False  # taken over from an older store: kept even if nothing here can run it


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What became of an order. `revision`: of its entry, or, where nothing was new, of the catalog that had it all."""

    status: int  # 201: something was created; 200: everything was there
    model_id: str
    created: tuple[str, ...]
    skipped: tuple[str, ...]
    revision: int
    routable: Mapping[str, tuple[str, ...]]  # created profile -> its bundles, best first
    needed: Needed  # what a worker must know to count as confirming
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


# 1. The request. It may vanish at any await; then only its answer is lost.


async def answer_post(
    read_body: Callable[[], Awaitable[bytes]], *, key: str | None, dry_run: bool, writer: Writer, fleet: Fleet
) -> tuple[Commit, dict[str, Any]]:
    """Add what is new in the posted document; answer once workers have confirmed it, or patience has run out.

    Cancelled: only the answer is lost. An order that the writer has taken goes on; one that it has not is withdrawn.
    """
    if not dry_run:
        writer.require_bus()  # 503, before anything is read
    change = read_change(await read_body(), writer.limits)  # 400 413 422
    commit = await writer.submit(Order(change=change, key=key, dry_run=dry_run))  # -> 2   409 422 503
    if not dry_run:
        with trio.move_on_after(writer.patience_s):
            await fleet.wait_acked(commit.needed, linger_s=writer.settings.ack_linger_ms / 1000)  # <- 3, an event
    return commit, answer(commit, fleet.acks(commit.needed), writer)  # 201 200


# 2. The write. It runs in the writer's one task, which no request can cancel.


async def fulfil(order: Order, *, head: Head, bus: Bus, deadline: float) -> Commit:
    """Make the change durable, or find that it is there already. After the append nothing turns this into an error.

    Cancelled, as the writer itself is: it may have happened, or happen yet; whoever reads on learns it.
    """
    await head.read_on()  # what other writers added; 503 if the store cannot be read
    while True:
        if repeated := head.repeated(order):  # the same Idempotency-Key; 422 if with another body
            return await _said_again(repeated, head=head, bus=bus)
        # Pure: 409, 422, nothing new, or something new.
        verdict = judge(head.catalog, order.change, head.limits, lenient=order.lenient)
        if order.dry_run or not verdict.changes:
            return await _said_again(head.unchanged(order, verdict), head=head, bus=bus)
        entry = head.entry(order, verdict)
        try:
            await head.append(entry, deadline=deadline)  # put-if-absent: two writers cannot both win a number
        except RevisionTaken:
            await head.read_on()  # another's entry came first: judge again with it
            continue
        notice = head.advance(entry)
        try:
            await bus.publish(notice)  # a hint; losing it costs time, not truth
        except BusUnavailable as lost:
            head.unsaid.append(notice)  # the writer tells it when the bus is back
            return head.committed(entry, f"nats_publish_failed: {lost}")
        return head.committed(entry)


async def _said_again(commit: Commit, *, head: Head, bus: Bus) -> Commit:
    """What was there already is told again, to those who may have missed it; a rehearsal is told to nobody."""
    if not commit.dry_run:
        try:
            await bus.remind(head.reminder(commit))
        except BusUnavailable as lost:
            return replace(commit, warnings=(*commit.warnings, f"nats_publish_failed: {lost}"))
    return commit


# 3. The apply. One task per bundle, in a worker.


async def keep_bundle_current(
    hints: AsyncIterable[Hint], *, bundle: BundleCatalog, catch_up: CatchUp, report: Callable[[], None]
) -> None:
    """Apply what is heard, look for what was missed, and report what is known: not what one was told.

    Cancelled: what counts as known is there; some models may be known beyond it.
    """
    await bundle.replace(await catch_up(bundle.name, bundle.known))
    report()
    async for hint in hints:
        bundle.apply(hint)  # in the log's order; what stands past a gap waits for what is missing
        if bundle.misses_something:
            await bundle.replace(await catch_up(bundle.name, bundle.known))
        report()


# The documented answer.


def answer(commit: Commit, acks: Acks, writer: Writer) -> dict[str, Any]:
    """The JSON of a 201 or 200: the page's keys, then this project's additions."""
    warnings = list(commit.warnings)
    if acks.total == 0:
        warnings.append("no_eligible_workers_connected")
    elif acks.pending and writer.unheard:
        warnings.append(writer.unheard)
    elif acks.pending and not commit.dry_run:
        waiting = ", ".join(sorted(set(acks.bundles) - set(acks.acked_bundles)))
        warnings.append(f"Serving readiness not met within timeout: no worker of {waiting} has confirmed yet")
    body: dict[str, Any] = {
        "model_id": commit.model_id,
        "created_profiles": list(commit.created),
        "existing_profiles_skipped": list(commit.skipped),
        "warnings": warnings,
        "routable_bundles_by_profile": {profile: list(bundles) for profile, bundles in commit.routable.items()},
        "worker_ack_pending": acks.pending,
        "eligible_bundles_count": len(acks.bundles),
        "eligible_bundles_with_workers_count": len(acks.bundles_with_workers),
        "acked_workers": acks.acked,
        "total_eligible": acks.total,
        "pending_workers": acks.total - acks.acked,
        "router_id": writer.router_id,
        "config_revision": commit.revision,
    }
    if acks.nacks:
        body["nacked_workers"] = [
            {"worker": worker, "profile": one.profile, "reason": one.reason}
            for worker, nacks in acks.nacks.items()
            for one in nacks
        ]
    if commit.dry_run:
        body["dry_run"] = True
    return body
