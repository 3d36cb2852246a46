"""What can be wrong with how a directory is written and read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sie.router.legacy
import sie.store.directory
import sie.store.files
import sie.store.legacy
from sie.catalog.change import Change, read_stored
from sie.catalog.entry import Entry
from sie.errors import SieError, StoreCorrupt, StoreUnavailable
from sie.store.directory import read_entries
from tests.planted.patching import patch


def an_entry_is_written_where_it_is_read() -> None:
    def put(target: Path, content: bytes, *, may_land: Callable[[], bool] = lambda: True) -> bool:
        if not may_land():
            raise StoreUnavailable("withdrawn")
        try:
            with target.open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    # Whoever kills it between two lines looks for lines of that file.
    put.__code__ = put.__code__.replace(co_filename=sie.store.files.__file__)
    patch(sie.store.files, put_if_absent=put)


def an_entry_is_there_before_it_is_durable() -> None:
    def write(folder: Path, content: bytes) -> Path:
        temporary = folder / ".put-0.tmp"
        temporary.write_bytes(content)
        return temporary

    patch(sie.store.files, _write_temporary=write)


def half_an_entry_is_the_end_of_the_log() -> None:
    def lenient(base: Path, since: int, *, most: int) -> list[Entry]:
        found: list[Entry] = []
        with suppress(StoreCorrupt):
            while len(found) < most and (more := read_entries(base, since + len(found), most=1)):
                found += more
        return found

    patch(sie.store.directory, read_entries=lenient)


def a_snapshot_is_written_over_another() -> None:
    patch(sie.store.files, replace=Path.write_bytes)


def half_a_snapshot_counts() -> None:
    def unframe(framed: bytes, *, name: str, revision: int) -> bytes | None:
        return framed.partition(b"\n")[2]

    patch(sie.store.directory, unframe_snapshot=unframe)


def an_old_epoch_is_read_to_the_letter() -> None:
    def epoch(file: Path) -> int | None:
        if not file.exists():
            return None
        text = file.read_text()
        return int(text) if text.isdigit() and text.isascii() else 0

    patch(sie.store.legacy, _epoch=epoch)


def an_old_epoch_that_is_no_number_ends_all_writing() -> None:
    read = sie.store.legacy._epoch

    def strict(file: Path) -> int | None:
        found = read(file)
        if found == 0:
            raise StoreUnavailable(f"{file} holds no number")
        return found

    patch(sie.store.legacy, _epoch=strict)


def one_bad_document_keeps_out_all_of_an_old_store() -> None:
    def read(content: bytes) -> Change:
        try:
            return read_stored(content)
        except SieError as fault:
            raise StoreUnavailable(fault.message) from None

    patch(sie.router.legacy, read_stored=read)
