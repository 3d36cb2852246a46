# Rule: everything here blocks, and belongs in a thread.
"""A store in a directory: made, looked over, read and written."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from sie.catalog.entry import Entry, read_entry
from sie.errors import ConfigurationError, RevisionTaken, StoreCorrupt, StoreReplaced
from sie.store import files
from sie.store.files import reaching
from sie.store.layout import ID, LOCK, LOG, PROBE, SNAPSHOT, frame_snapshot, number_in, numbered, unframe_snapshot
from sie.store.survey import Survey

log = logging.getLogger(__name__)

_SNAPSHOTS_KEPT = 2  # the newest may be torn by the disk; the one before it saves most of the reading


# -- opening


def prepare(base: Path, *, patience_s: float) -> str:
    """Make the store, or look it over; prove that it can be trusted; return its id.

    Raises StoreUnavailable (away, full, not ours to write, locked for `patience_s`), StoreCorrupt (an object is missing
    or foreign) and ConfigurationError (a file system that does not keep its promises).
    """
    with reaching(base):
        for folder in (base, base / LOG, base / SNAPSHOT):
            files.make_folder(folder)
        files.fsync_folder(base)  # whoever made the others may have been killed before it came to this
    with files.locked(base / LOCK, patience_s=patience_s):
        _prove_locking(base / LOCK)
        _prove_put_if_absent(base / PROBE)
        for folder in (base, base / LOG, base / SNAPSHOT):
            with reaching(folder):
                files.sweep(folder)
        survey = look_over(base)
        for fault in survey.faults(str(base)):
            raise fault
        return read_id(base, survey) or _make_id(base)


def _prove_locking(lock: Path) -> None:
    """The caller holds the lock, so that a second opener must not get it."""
    with reaching(lock):
        second = os.open(lock, os.O_RDWR)
        try:
            excluded = not files.try_lock(second)
        finally:
            os.close(second)
    if not excluded:
        raise ConfigurationError(f"{lock}: locks do not exclude on this file system; choose another directory")


def _prove_put_if_absent(probe: Path) -> None:
    """Whether the first put lands or finds an earlier opener's, the second must be refused."""
    content = b"put if absent is proven on this file each time the store is opened\n"
    files.put_if_absent(probe, content)
    if files.put_if_absent(probe, content):
        raise ConfigurationError(f"{probe}: a file that is there can be put again; choose another file system")


def read_id(base: Path, survey: Survey) -> str | None:
    """The store's id; None if it has none yet. Raises StoreCorrupt if it is torn, or gone from beside a log."""
    path = base / ID
    with reaching(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if survey.head == 0:
                return None
            cure = "restore it, or write 32 new hexadecimal digits into it"
            raise StoreCorrupt(f"{path} is missing beside a log: {cure}", name=str(path)) from None
    return _id_in(content, path)


def check_id(base: Path, store_id: str) -> None:
    """Raises StoreReplaced if another store has come to lie here, StoreUnavailable if there is none to be seen."""
    path = base / ID
    with reaching(path):
        found = path.read_bytes()
    if found.strip() != store_id.encode():
        _id_in(found, path)
        raise StoreReplaced(f"{path} is another store's: it was replaced while in use", name=str(path))


def _id_in(content: bytes, path: Path) -> str:
    match = re.fullmatch(rb"([0-9a-f]{32})\n?", content)
    if match is None:
        raise StoreCorrupt(f"{path} is torn or not ours: it should hold 32 hexadecimal digits", name=str(path))
    return match[1].decode()


def _make_id(base: Path) -> str:
    made = secrets.token_hex(16)
    files.put_if_absent(base / ID, made.encode() + b"\n")
    return made


# -- looking it over


def look_over(base: Path) -> Survey:
    """Read the names, without the lock: a writer may be at work. Raises StoreUnavailable."""
    with reaching(base):
        snapshots, before = os.listdir(base / SNAPSHOT), os.listdir(base / LOG)
        names = [name for name in os.listdir(base / LOG) if not files.is_temporary(name)]
    return Survey.of(snapshots=snapshots, before=before, names=names)


# -- the log


def append(base: Path, revision: int, content: bytes, *, patience_s: float, may_land: Callable[[], bool]) -> None:
    """Put an entry under its number, durably. `may_land`: see `files.put_if_absent`.

    Raises RevisionTaken, StoreUnavailable, OutcomeUnknown, as `Store.append` does; StoreCorrupt, having written
    nothing, if the entry before it is gone.
    """
    target = base / LOG / numbered(revision)
    before = base / LOG / numbered(revision - 1)
    with files.locked(base / LOCK, patience_s=patience_s):
        with reaching(target):
            taken = files.is_there(target)
            follows = revision == 1 or taken or files.is_there(before)
        if not follows:
            raise StoreCorrupt(f"{before} is missing: nothing can follow it", name=str(before))
        # Looked at first only to spare the loser of a race its fsync; put_if_absent decides.
        if taken or not files.put_if_absent(target, content, may_land=may_land):
            raise RevisionTaken(f"{target} is there")


def read_entries(base: Path, since: int, *, most: int) -> list[Entry]:
    """The next entries after `since`, at most so many, up to the first that is absent; durable when this returns.

    Raises StoreUnavailable and StoreCorrupt, as `Store.entries_since` does.
    """
    entries: list[Entry] = []
    with reaching(base / LOG), files.open_folder(base / LOG) as folder:
        for revision in range(since + 1, since + 1 + most):
            name = numbered(revision)
            try:
                content = _content(folder, name)
            except FileNotFoundError:  # the log itself is there: it is open
                break
            entries.append(read_entry(content, name=str(base / LOG / name), revision=revision))
        if entries:
            # Another process may have put them and not have come to its own fsync: nothing may rest on them before.
            os.fsync(folder)
    return entries


def _content(folder: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


# -- snapshots


def newest_snapshot(base: Path) -> bytes | None:
    """See `Store.load_snapshot`. One that cannot be read is skipped as a torn one is: the log has everything."""
    with reaching(base / SNAPSHOT):
        revisions = _snapshots(base)
    for revision in revisions:
        try:
            content = read_snapshot(base, revision)
        except OSError as fault:
            log.warning("%s cannot be read, going back: %s", base / SNAPSHOT / numbered(revision), fault)
            continue
        if content is not None:
            return content
        log.warning("%s is torn or not ours, going back", base / SNAPSHOT / numbered(revision))
    return None


def read_snapshot(base: Path, revision: int) -> bytes | None:
    """Its content; None if it is torn. Raises OSError, and StoreCorrupt for an unknown format."""
    path = base / SNAPSHOT / numbered(revision)
    return unframe_snapshot(path.read_bytes(), name=str(path), revision=revision)


def save_snapshot(base: Path, revision: int, content: bytes) -> None:
    """Put it whole, and remove all but the newest. Raises StoreUnavailable."""
    with reaching(base / SNAPSHOT):
        files.replace(base / SNAPSHOT / numbered(revision), frame_snapshot(revision, content))
        for outdated in _snapshots(base)[_SNAPSHOTS_KEPT:]:
            (base / SNAPSHOT / numbered(outdated)).unlink(missing_ok=True)  # another process may have done it


def _snapshots(base: Path) -> tuple[int, ...]:
    numbers = (number_in(name) for name in os.listdir(base / SNAPSHOT))
    return tuple(sorted((number for number in numbers if number is not None), reverse=True))
