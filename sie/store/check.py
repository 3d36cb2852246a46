# Rule: nothing here writes, and nothing here takes the lock: a process may be using the store.
"""Looking into a store directory from outside: is it whole, and what does it hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sie.catalog.entry import Entry, read_entry, write_entry
from sie.errors import StoreCorrupt, StoreUnavailable
from sie.store.directory import look_over, read_id, read_snapshot
from sie.store.files import reaching
from sie.store.layout import LOG, SNAPSHOT, numbered
from sie.store.legacy import LegacyStore, read_legacy


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """`entries`, `snapshots`: how many are intact. `head`: the highest entry. `problems`: each names its file."""

    entries: int
    head: int
    snapshots: int
    problems: tuple[str, ...]
    legacy: LegacyStore | None

    @property
    def ok(self) -> bool:
        return not self.problems


def check_store(path: str | Path) -> CheckReport:
    """Read every object and name each that is torn, foreign, missing, renumbered or of an unknown format. Blocks.

    A process may be writing meanwhile: what it adds after the start is not looked at. Raises StoreUnavailable if there
    is no store in the directory, or it cannot be listed.
    """
    base = Path(path)
    survey = look_over(base)
    problems = [fault.message for fault in survey.faults(base)]
    entries = snapshots = 0
    legacy = None
    try:
        read_id(base, survey)
    except StoreUnavailable as fault:
        problems.append(fault.message)
    for revision in survey.entries:
        try:
            _entry(base, revision)
            entries += 1
        except StoreUnavailable as fault:
            problems.append(fault.message)
    for revision in survey.snapshots:
        try:
            snapshots += _snapshot_is_intact(base, revision)
        except StoreUnavailable as fault:
            problems.append(fault.message)
    try:
        legacy = read_legacy(base)
    except StoreUnavailable as fault:
        problems.append(fault.message)
    return CheckReport(entries=entries, head=survey.head, snapshots=snapshots, problems=tuple(problems), legacy=legacy)


def export_store(path: str | Path) -> Iterator[str]:
    """Every entry as one line of JSON without its newline, in order. Blocks.

    Raises StoreUnavailable, and StoreCorrupt at what is not whole: an entry is never skipped.
    """
    base = Path(path)
    survey = look_over(base)
    for fault in survey.faults(base):
        raise fault
    for revision in survey.entries:
        yield write_entry(_entry(base, revision)).decode()


def _entry(base: Path, revision: int) -> Entry:
    path = base / LOG / numbered(revision)
    with reaching(path):
        content = path.read_bytes()
    return read_entry(content, name=str(path), revision=revision)


def _snapshot_is_intact(base: Path, revision: int) -> bool:
    """Raises StoreCorrupt if it is not. False: a writer has replaced it since it was listed."""
    path = base / SNAPSHOT / numbered(revision)
    with reaching(path):
        try:
            content = read_snapshot(base, revision)
        except FileNotFoundError:
            return False
    if content is None:
        raise StoreCorrupt(f"{path} is torn or not ours: remove it, the log has everything", name=str(path))
    return True
