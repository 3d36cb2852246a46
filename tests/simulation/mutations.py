"""Known ways to lose, each planted in our own code as a small patch: what a simulation that sees nothing would miss.

Each is a function that patches the process it is called in, for good: call it in a process of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import trio

import sie.catalog.judge
import sie.flow
import sie.router.head
import sie.router.reconcile
import sie.router.writer
import sie.store.append
import sie.worker.following
from sie.bus.contract import Bus, Elsewhere, Hint, Notice, Nudge
from sie.catalog.catalog import Catalog
from sie.catalog.change import Change, ChangeLimits
from sie.catalog.coverage import Coverage
from sie.catalog.entry import Entry
from sie.catalog.judge import Verdict, draft, judge
from sie.catalog.keys import Keys
from sie.catalog.model import Model
from sie.catalog.snapshot import Snapshot, write_snapshot
from sie.errors import (
    BusUnavailable,
    ContentConflict,
    OutcomeUnknown,
    RevisionTaken,
    StoreUnavailable,
)
from sie.flow import Commit, Order, fulfil
from sie.router.fleet import Fleet, Needed
from sie.router.head import Head
from sie.router.reconcile import Reconcile
from sie.router.writer import Writer, _Ticket
from sie.store.append import append_surely
from sie.store.contract import Store
from sie.wire.status import WorkerStatus
from sie.worker.follow import BundleCatalog, CaughtUp
from sie.worker.truth import _Doubt
from sie.worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Mutation:
    """`what`: in a sentence. `like`: where it comes from; `plant`: does it to this process."""

    what: str
    like: str
    plant: Callable[[], None]


def a_taken_number_counts_as_ours() -> None:
    async def attempt(store: Store, entry: Entry, *, alone: bool) -> None:
        try:
            await store.append(entry)
        except RevisionTaken:
            return

    sie.store.append._attempt = attempt


def our_own_entry_is_taken_for_anothers() -> None:
    async def attempt(store: Store, entry: Entry, *, alone: bool) -> None:
        await store.append(entry)

    sie.store.append._attempt = attempt


def memory_comes_before_durability() -> None:
    stored = Head.append

    async def append(self: Head, entry: Entry, *, deadline: float) -> None:
        self.catalog.apply(entry)
        await stored(self, entry, deadline=deadline)

    _patch(Head, append=append)


def workers_hear_before_it_is_stored() -> None:
    stored = Head.append

    async def early(order: Order, *, head: Head, bus: Bus, deadline: float) -> Commit:
        async def append(entry: Entry, *, deadline: float) -> None:
            before = head.catalog.previous(entry)
            notice = Notice(store=head.store_id, entry=entry, previous=before)
            head.catalog.apply(entry)
            with suppress(BusUnavailable):
                await bus.publish(notice)
            await stored(head, entry, deadline=deadline)

        with _having(head, append=append):
            return await fulfil(order, head=head, bus=bus, deadline=deadline)

    _patch(sie.router.writer, fulfil=early)


def a_publish_that_fails_is_an_error() -> None:
    async def strict(order: Order, *, head: Head, bus: Bus, deadline: float) -> Commit:
        commit = await fulfil(order, head=head, bus=bus, deadline=deadline)
        if commit.warnings:
            raise BusUnavailable("it could not be published")
        return commit

    _patch(sie.router.writer, fulfil=strict)


def a_publish_that_fails_is_final() -> None:
    """And nobody looks for what it missed before it hears of something else."""
    made = Head.__init__

    def make(self: Head, *args: Any, **said: Any) -> None:
        made(self, *args, **said)
        self.unsaid = deque(maxlen=0)

    _patch(Head, __init__=make)
    _patch(Reconcile, _say_heads=_nothing, _tell_those_behind=_nothing)
    _patch(sie.worker.following, _keep_looking=_for_ever)


def a_worker_never_catches_up_again() -> None:
    _patch(BundleCatalog, misses_something=property(lambda self: not self.caught_up))


def a_gap_counts_as_applied() -> None:
    def heard(self: Coverage, entry: Entry, previous: int) -> Sequence[Entry]:
        if entry.revision <= self.complete_to:
            return ()
        self.complete_to = entry.revision
        return [entry]

    _patch(Coverage, heard=heard)


def a_worker_replaces_the_whole_model() -> None:
    taken = BundleCatalog._take

    def take(self: BundleCatalog, entry: Entry, store: str) -> None:
        if store == self.catalog.own:
            self.catalog._logged.pop(entry.model_id, None)
        taken(self, entry, store)

    _patch(BundleCatalog, _take=take)


def a_worker_keeps_a_stub() -> None:
    taken = BundleCatalog._take

    def take(self: BundleCatalog, entry: Entry, store: str) -> None:
        stubs = {
            name: {key: value for key, value in content.items() if key in ("adapter_path", "extends")}
            for name, content in entry.profiles.items()
        }
        taken(self, replace(entry, profiles=stubs), store)

    _patch(BundleCatalog, _take=take)


def what_exists_may_be_said_differently() -> None:
    _patch(sie.catalog.judge, _check_conflicts=lambda existing, change: None)


def an_error_leaves_half_of_it() -> None:
    def half(catalog: Catalog, change: Change, limits: ChangeLimits, *, lenient: bool = False) -> Verdict:
        try:
            return judge(catalog, change, limits, lenient=lenient)
        except ContentConflict:
            known = catalog.find(change.model_id)
            assert known is not None
            new = {name: one for name, one in change.profiles.items() if name not in known.profiles}
            if new:
                verdict = judge(catalog, replace(change, profiles=new), limits, lenient=lenient)
                catalog.apply(draft(verdict, write_id="", time="", router_id="", body_hash=""))
            raise

    _patch(sie.flow, judge=half)


def the_first_error_ends_the_looking() -> None:
    look = Reconcile._look

    async def once(self: Reconcile) -> None:
        if getattr(self, "_over", False):
            return
        await look(self)
        if self._writer.head.trouble is not None:
            self._over = True  # type: ignore[attr-defined]

    _patch(Reconcile, _look=once)


def a_reload_forgets_what_was_added() -> None:
    look = Reconcile._look

    async def reload(self: Reconcile) -> None:
        await look(self)
        head = self._writer.head
        fresh = head.catalog.files_only()
        fresh.own, fresh.head = head.catalog.own, head.catalog.head
        head.catalog = fresh
        head.newest.clear()

    _patch(Reconcile, _look=reload)


def a_worker_hashes_otherwise() -> None:
    status = Worker.status

    def reversed_status(self: Worker) -> WorkerStatus:
        said = status(self)
        return replace(said, digest=said.digest[::-1])

    _patch(Worker, status=reversed_status)


def keys_are_known_where_they_were_used_only() -> None:
    take = Head._take
    restored = Head._restored

    def forget(self: Head, entry: Entry) -> None:
        known, self._keys = self._keys, Keys(10)
        take(self, entry)
        self._keys = known

    def restore(self: Head, content: bytes) -> tuple[Catalog, Keys]:
        return restored(self, content)[0], Keys(10)

    _patch(Head, _take=forget, _restored=restore)


def all_routers_have_one_name() -> None:
    made = Head.__init__

    def make(self: Head, *args: Any, **said: Any) -> None:
        made(self, *args, **{**said, "router_id": "router"})

    _patch(Head, __init__=make)


def an_append_to_a_shipped_model_stands_alone() -> None:
    merged = Catalog._merged

    def own_first(self: Catalog, model_id: str, own: Model | None, *, suggested: bool = True) -> Model | None:
        if own is not None and model_id in self._files:
            return own
        return merged(self, model_id, own, suggested=suggested)

    def alone(verdict: Verdict, **said: Any) -> Entry:
        return draft(replace(verdict, base=None), **said)

    _patch(sie.router.head, draft=alone)
    _patch(Catalog, _merged=own_first)


def silence_is_answered_as_refusal() -> None:
    async def append(store: Store, entry: Entry, *, deadline: float) -> None:
        try:
            await append_surely(store, entry, deadline=deadline)
        except OutcomeUnknown as fault:
            raise StoreUnavailable(fault.message) from None

    _patch(sie.router.head, append_surely=append)


def silence_is_not_asked_again() -> None:
    async def append(store: Store, entry: Entry, *, deadline: float) -> None:
        try:
            await store.append(entry)
        except OutcomeUnknown as fault:
            raise StoreUnavailable(fault.message) from None

    _patch(sie.router.head, append_surely=append)


def a_store_is_known_by_its_numbers_alone() -> None:
    apply, knows = BundleCatalog.apply, Fleet._knows

    def heard(self: BundleCatalog, hint: Hint) -> None:
        if isinstance(hint, Nudge):
            if not self.caught_up:
                apply(self, hint)
        elif isinstance(hint, Elsewhere):
            apply(self, Elsewhere(self.store, hint.revision))
        else:
            apply(self, replace(hint, store=self.store))

    def known(self: Fleet, worker: WorkerStatus, store: str, revision: int) -> bool:
        return knows(self, worker, worker.store or "", revision)

    _patch(BundleCatalog, apply=heard)
    _patch(Fleet, _knows=known)


def any_known_digest_is_an_ack() -> None:
    digests: set[str] = set()
    advance = Head.advance

    def remember(self: Head, entry: Entry) -> Any:
        notice = advance(self, entry)
        digests.update(self.catalog.digest(bundle) for bundle in self.catalog.bundles)
        return notice

    _patch(Head, advance=remember)
    _patch(Fleet, _knows=lambda self, worker, store, revision: revision == 0 or worker.digest in digests)


def everybody_counts_as_acked() -> None:
    acks = Fleet.acks

    def all_of_them(self: Fleet, needed: Needed) -> Any:
        return acks(self, replace(needed, revisions={}))

    _patch(Fleet, acks=all_of_them)


def traffic_goes_to_anybody() -> None:
    _patch(Fleet, serving=lambda self, bundle, *, store, revision: self.in_bundle(bundle))


def a_read_error_looks_like_nothing() -> None:
    read_tail = Head._read_tail

    async def lenient(self: Head) -> None:
        try:
            await read_tail(self)
        except StoreUnavailable:
            self.folded = True

    _patch(Head, _read_tail=lenient)


def handlers_commit_themselves() -> None:
    async def at_once(self: Writer, order: Order | None) -> _Ticket:
        ticket = _Ticket(order, trio.current_time() + self.settings.commit_timeout_s)
        await self._carry_out(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket

    _patch(Writer, _have_settled=at_once)


def news_is_answered_with_news() -> None:
    look = Reconcile._look

    async def tell(self: Reconcile) -> None:
        await look(self)
        if self._nats is not None:
            await self._tell_those_behind(self._nats)

    _patch(Reconcile, _look=tell)


def what_was_not_read_is_absent() -> None:
    _patch(Head, looking_up=_as_it_is)


def a_doubt_is_settled_unheard() -> None:
    def settle(self: _Doubt, digest: str, known: Mapping[str, int], found: CaughtUp) -> None:
        self._settled = (digest, {}) if digest else self._settled

    def digest(self: _Doubt) -> str:
        ours = "" if self._known.gap else self._known.catalog.digest(self._known.name)
        return "" if ours == self._settled[0] else ours

    _patch(_Doubt, settle=settle, digest=property(digest))


def a_snapshot_holds_what_is_not_stored() -> None:
    """As one that is named after a number it has not got to."""

    def ahead(snapshot: Snapshot) -> bytes:
        return write_snapshot(replace(snapshot, revision=snapshot.revision + 1))

    _patch(sie.router.head, write_snapshot=ahead)


MUTATIONS: Mapping[str, Mutation] = {
    plant.__name__.replace("_", "-"): Mutation(what, like, plant)
    for plant, like, what in (
        (a_taken_number_counts_as_ours, "lost update", "the loser of a race for a number takes it for won"),
        (our_own_entry_is_taken_for_anothers, "repeated put", "a put repeated after silence meets its own entry"),
        (memory_comes_before_durability, "ghost model", "a change is served before it is stored"),
        (workers_hear_before_it_is_stored, "ghost model", "a change is published before it is stored"),
        (a_publish_that_fails_is_an_error, "error after commit", "what is stored is answered with an error"),
        (a_publish_that_fails_is_final, "lost message", "what could not be published is never said again"),
        (a_worker_never_catches_up_again, "lost message", "a worker never looks for what it missed"),
        (a_gap_counts_as_applied, "watermark", "a worker says it knows all up to the newest it has heard of"),
        (a_worker_replaces_the_whole_model, "whole replacement", "an entry replaces the model it adds to"),
        (a_worker_keeps_a_stub, "stub", "a worker keeps the part of a profile that it understands"),
        (what_exists_may_be_said_differently, "no 409", "other content for what exists is accepted"),
        (an_error_leaves_half_of_it, "partial mutation", "a refused change leaves its unobjectionable half"),
        (the_first_error_ends_the_looking, "silent reconcile", "after its first error nobody reconciles any more"),
        (a_reload_forgets_what_was_added, "reload", "a reload leaves the files' models only"),
        (a_worker_hashes_otherwise, "two hashes", "router and worker compute the digest differently"),
        (keys_are_known_where_they_were_used_only, "key cache", "an Idempotency-Key is known to one router's life"),
        (all_routers_have_one_name, "equal ids", "routers of one name take each other's news for their own"),
        (an_append_to_a_shipped_model_stands_alone, "no base", "an append to a shipped model is all there is of it"),
        (silence_is_answered_as_refusal, "late write", "an unknown outcome is answered as nothing has happened"),
        (silence_is_not_asked_again, "late write", "a put that was not answered counts as not done"),
        (a_store_is_known_by_its_numbers_alone, "wiped store", "numbers count whichever store they are of"),
        (any_known_digest_is_an_ack, "ack by digest", "a worker acks with any digest that the router knows"),
        (everybody_counts_as_acked, "false acks", "workers count as acked once they are asked"),
        (traffic_goes_to_anybody, "no gate", "a request goes to a worker that may not have the model"),
        (a_read_error_looks_like_nothing, "read error", "what cannot be read counts as empty"),
        (handlers_commit_themselves, "no writer", "each request's handler commits, side by side"),
        (news_is_answered_with_news, "echo", "routers answer each other's news by telling them again"),
        (what_was_not_read_is_absent, "early 404", "a model in a store that was not read yet is said not to exist"),
        (a_doubt_is_settled_unheard, "stale truth", "a digest that was asked about once counts as compared, for good"),
        (a_snapshot_holds_what_is_not_stored, "snapshot", "a snapshot counts an entry that it does not hold"),
    )
}


def _patch(where: Any, **replacements: Any) -> None:
    for name, replacement in replacements.items():
        setattr(where, name, replacement)


class _having:
    """An attribute of one object, for a while."""

    def __init__(self, what: object, **replacements: object) -> None:
        self._what = what
        self._replacements = replacements

    def __enter__(self) -> None:
        for name, replacement in self._replacements.items():
            setattr(self._what, name, replacement)

    def __exit__(self, *_: object) -> None:
        for name in self._replacements:
            delattr(self._what, name)


class _as_it_is:
    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


async def _nothing(*_: object, **__: object) -> None:
    await trio.lowlevel.checkpoint()


async def _for_ever(*_: object) -> None:
    await trio.sleep_forever()
