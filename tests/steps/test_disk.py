"""A process is killed between any two lines of what it does to a directory, where tasks take no steps.

It is really killed, as `os._exit` does it: no clean-up runs, its locks fall, and what it wrote stays as far as it came.
That what it wrote outlives a power cut as well is the file system's promise to fsync, and not shown here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sie.catalog.entry import write_entry
from sie.errors import RevisionTaken
from sie.store import directory, files
from sie.store.layout import ID, LOG, SNAPSHOT, frame_snapshot, numbered
from tests.store.samples import entry

# From Python 3.12 on, a fork beside other threads is warned of; this child takes no lock that one of them could hold.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

_WATCHED = {directory.__file__, files.__file__}
_DONE, _KILLED = 0, 9


def killed_at(line: int, do: Callable[[], object]) -> bool:
    """Do it in a process of its own, which is killed before its nth line; False: it was done before that."""
    child = os.fork()
    if not child:
        left = line

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in _WATCHED:
                return None
            if event == "line":
                if left == 0:
                    os._exit(_KILLED)
                left -= 1
            return trace

        try:
            sys.settrace(trace)
            do()
        finally:
            sys.settrace(None)
            os._exit(_DONE)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (_DONE, _KILLED)
    return status == _KILLED


def at_every_line(
    tmp_path: Path, begin: Callable[[Path], None], do: Callable[[Path], object], *, apart: int = 1
) -> list[Path]:
    """The directories as they were left, one for each line, or for lines so far apart; the last was not killed."""
    left = []
    for line in range(0, 1000, apart):
        base = tmp_path / str(line)
        begin(base)
        left.append(base)
        if not killed_at(line, partial(do, base)):
            assert line > 5
            return left
    raise AssertionError("not at its end after 1000 lines")


def prepared(base: Path) -> None:
    directory.prepare(base, patience_s=5)


def append(base: Path, revision: int = 1) -> None:
    directory.append(base, revision, write_entry(entry(revision)), patience_s=5, may_land=lambda: True)


def test_an_entry_is_whole_or_absent_and_the_same_put_again_makes_it_certain(tmp_path: Path) -> None:
    outcomes = set()
    for base in at_every_line(tmp_path, prepared, append):
        found = directory.read_entries(base, 0, most=10)
        assert found in ([], [entry(1)])
        if found:
            with pytest.raises(RevisionTaken):
                append(base)
        else:
            append(base)
        append(base, 2)
        assert directory.read_entries(base, 0, most=10) == [entry(1), entry(2)]
        names = {one for one in os.listdir(base / LOG) if not files.is_temporary(one)}
        assert names == {numbered(1), numbered(2)}
        outcomes.add(bool(found))
    assert outcomes == {True, False}


@pytest.mark.parametrize("apart", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_directory_that_was_being_made_is_completed_by_the_next_open(tmp_path: Path, apart: int) -> None:
    for base in at_every_line(tmp_path, lambda _: None, prepared, apart=apart):
        before = (base / ID).read_bytes() if (base / ID).exists() else None
        first = directory.prepare(base, patience_s=5)
        assert directory.prepare(base, patience_s=5) == first
        assert before in (None, first.encode() + b"\n")
        append(base)
        assert directory.read_entries(base, 0, most=10) == [entry(1)]


def test_of_snapshots_one_that_is_whole_is_there_at_any_line(tmp_path: Path) -> None:
    def begin(base: Path) -> None:
        prepared(base)
        for revision in (1, 2):
            directory.save_snapshot(base, revision, b"snapshot %d" % revision)

    saved = partial(directory.save_snapshot, revision=3, content=b"snapshot 3")
    *killed, done = at_every_line(tmp_path, begin, saved)
    assert {directory.newest_snapshot(base) for base in killed} == {b"snapshot 2", b"snapshot 3"}
    assert directory.newest_snapshot(done) == b"snapshot 3"
    for base in killed:
        saved(base)
        assert (base / SNAPSHOT / numbered(3)).read_bytes() == frame_snapshot(3, b"snapshot 3")
        assert sum(not files.is_temporary(one) for one in os.listdir(base / SNAPSHOT)) == 2
