# Rule: nothing here writes, and nothing here takes the lock: a process may be using the store.
"""Looking into a store from outside: is it whole, and what does it hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sie.catalog.entry import Entry, read_entry, write_entry
from sie.errors import StoreCorrupt, StoreUnavailable
from sie.settings import Settings
from sie.store.layout import ID, LOG, SNAPSHOT, numbered, unframe_snapshot
from sie.store.legacy import LegacyStore
from sie.store.survey import Survey
from sie.store.view import View, look_over, open_view

_TIMEOUT_S = Settings().store_timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """`entries`, `snapshots`: how many are intact. `head`: the highest entry. `problems`: each names its object."""

    entries: int
    head: int
    snapshots: int
    problems: tuple[str, ...]
    legacy: LegacyStore | None

    @property
    def ok(self) -> bool:
        return not self.problems


def check_store(store: str | Path, *, timeout_s: float = _TIMEOUT_S) -> CheckReport:
    """Read every object and name each that is torn, foreign, missing, renumbered or of an unknown format. Blocks.

    `store`: a directory, or s3://… or gs://…, whose service may pause for `timeout_s`. A process may be writing
    meanwhile: what it adds after the start is not looked at. Raises StoreUnavailable if there is no store, or it cannot
    be reached, and ConfigurationError for an address that cannot be used.
    """
    with open_view(str(store), timeout_s) as view:
        return _check(view)


def export_store(store: str | Path, *, timeout_s: float = _TIMEOUT_S) -> Iterator[str]:
    """Every entry as one line of JSON without its newline, in order. Blocks.

    Raises as `check_store` does, and StoreCorrupt at what is not whole: an entry is never skipped.
    """
    with open_view(str(store), timeout_s) as view:
        survey = look_over(view)
        for fault in survey.faults(view.place):
            raise fault
        for found in _entries(view, survey.entries):
            if isinstance(found, StoreUnavailable):
                raise found
            yield write_entry(found).decode()


def _check(view: View) -> CheckReport:
    survey = look_over(view)
    problems = [fault.message for fault in survey.faults(view.place)]
    entries = snapshots = 0
    legacy = None

    def note(fault: StoreUnavailable) -> None:
        if not view.near and not isinstance(fault, StoreCorrupt):
            raise fault  # nobody can tell from here
        problems.append(fault.message)

    try:
        _confirm_id(view, survey)
    except StoreUnavailable as fault:
        note(fault)
    for found in _entries(view, survey.entries):
        if isinstance(found, StoreUnavailable):
            note(found)
        else:
            entries += 1
    for revision in survey.snapshots:
        try:
            snapshots += _snapshot_is_intact(view, revision)
        except StoreUnavailable as fault:
            note(fault)
    try:
        legacy = view.legacy()
    except StoreUnavailable as fault:
        note(fault)
    return CheckReport(entries=entries, head=survey.head, snapshots=snapshots, problems=tuple(problems), legacy=legacy)


def _confirm_id(view: View, survey: Survey) -> None:
    """Raises StoreCorrupt if the id is torn, or gone from beside a log."""
    content = view.get(ID)
    name = f"{view.place}/{ID}"
    if content is None:
        if survey.head > 0:
            cure = "restore it, or write 32 new hexadecimal digits into it"
            raise StoreCorrupt(f"{name} is missing beside a log: {cure}", name=name)
    elif re.fullmatch(rb"[0-9a-f]{32}\n?", content) is None:
        raise StoreCorrupt(f"{name} is torn or not ours: it should hold 32 hexadecimal digits", name=name)


def _entries(view: View, revisions: Iterable[int]) -> Iterator[Entry | StoreUnavailable]:
    """Each, or why it cannot be had."""
    numbers = list(revisions)
    contents = view.get_all(f"{LOG}/{numbered(one)}" for one in numbers)
    for revision, content in zip(numbers, contents, strict=True):
        name = f"{view.place}/{LOG}/{numbered(revision)}"
        if isinstance(content, StoreUnavailable):
            yield content
        elif content is None:
            yield StoreCorrupt(f"{name} was listed, and is not there: restore it, it is never skipped", name=name)
        else:
            yield _read(content, name, revision)


def _read(content: bytes, name: str, revision: int) -> Entry | StoreCorrupt:
    try:
        return read_entry(content, name=name, revision=revision)
    except StoreCorrupt as fault:
        return fault


def _snapshot_is_intact(view: View, revision: int) -> bool:
    """Raises StoreCorrupt if it is not. False: a writer has replaced it since it was listed."""
    framed = view.get(f"{SNAPSHOT}/{numbered(revision)}")
    if framed is None:
        return False
    name = f"{view.place}/{SNAPSHOT}/{numbered(revision)}"
    if unframe_snapshot(framed, name=name, revision=revision) is None:
        raise StoreCorrupt(f"{name} is torn or not ours: remove it, the log has everything", name=name)
    return True
