"""The local directory when the disk, the machine or a neighbour is in the way: definite where it can be, never torn."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sie.errors import OutcomeUnknown, RevisionTaken, StoreCorrupt, StoreUnavailable
from sie.store.append import append_surely
from tests.store.samples import ROOT, entry, local


def _fail(
    monkeypatch: pytest.MonkeyPatch, call: str, code: int, *, when: Callable[[object], bool] = lambda _: True
) -> None:
    """Make one call of `os` fail as a disk would, once, when its last argument is so."""
    real = getattr(os, call)

    def failing(*given: object) -> object:
        if when(given[-1]):
            monkeypatch.setattr(os, call, real)
            raise OSError(code, os.strerror(code))
        return real(*given)

    monkeypatch.setattr(os, call, failing)


def _is_folder(descriptor: object) -> bool:
    assert isinstance(descriptor, int)
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _is_file(descriptor: object) -> bool:
    return not _is_folder(descriptor)


# -- errors before, at and after the link


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT])
async def test_an_error_before_the_link_means_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = await local(tmp_path)
    _fail(monkeypatch, "fsync", code, when=_is_file)
    with pytest.raises(StoreUnavailable) as caught:
        await store.append(entry(1))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert os.strerror(code) in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert os.listdir(tmp_path / "log") == []
    await store.append(entry(1))


async def test_a_full_disk_is_said_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await local(tmp_path)
    _fail(monkeypatch, "fsync", errno.ENOSPC)
    with pytest.raises(StoreUnavailable) as caught:
        await store.append(entry(1))
    assert caught.value.message.endswith("No space left on device; free some space")


async def test_an_error_after_the_link_is_unknown_and_asking_again_settles_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await local(tmp_path)
    _fail(monkeypatch, "fsync", errno.EIO, when=_is_folder)
    with pytest.raises(OutcomeUnknown):
        await store.append(entry(1))
    with pytest.raises(RevisionTaken):
        await store.append(entry(1))
    _fail(monkeypatch, "fsync", errno.EIO, when=_is_folder)
    await append_surely(store, entry(2), deadline=trio.current_time() + 20)
    assert list(await store.entries_since(0)) == [entry(1), entry(2)]


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StoreUnavailable), (errno.EROFS, StoreUnavailable), (errno.EIO, OutcomeUnknown)]
)
async def test_an_error_of_the_link_itself_is_definite_only_where_the_error_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreUnavailable]
) -> None:
    store = await local(tmp_path)
    _fail(monkeypatch, "link", code)
    with pytest.raises(StoreUnavailable) as caught:
        await store.append(entry(1))
    assert type(caught.value) is kind
    assert os.listdir(tmp_path / "log") == []


async def test_a_read_error_is_not_an_empty_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable) as caught:
        await store.entries_since(1)
    assert str(tmp_path / "log") in caught.value.message
    with pytest.raises(StoreUnavailable):
        await store.append(entry(2))


async def test_a_snapshot_that_cannot_be_saved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    await store.save_snapshot(1, b"old")
    _fail(monkeypatch, "replace", errno.EIO)
    with pytest.raises(StoreUnavailable):
        await store.save_snapshot(1, b"new")
    assert os.listdir(tmp_path / "snapshot") == ["0000000001.json"]
    assert await store.load_snapshot() == b"old"


# -- places where no store can be


async def test_a_path_that_is_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnavailable) as caught:
            await local(path)
        assert str(path) in caught.value.message
        assert "SIE_CONFIG_STORE_DIR must name a directory" in caught.value.message


_CHILD = """
import resource, sys, trio
from pathlib import Path
from sie.errors import StoreUnavailable
from tests.store.samples import entry, local

async def main():
    store = await local(Path(sys.argv[1]))
    await store.append(entry(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        await store.append(entry(2, text="x" * 10_000))
    except StoreUnavailable as fault:
        print(type(fault).__name__, fault.message)
    await store.append(entry(2))

trio.run(main)
"""


async def test_a_file_that_cannot_grow_is_not_left_torn(tmp_path: Path) -> None:
    said = subprocess.run(  # noqa: ASYNC221 -- nothing else runs in this test
        [sys.executable, "-c", _CHILD, str(tmp_path)], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert said.startswith("StoreUnavailable ")
    assert "File too large; raise the limit on file sizes" in said
    assert sorted(os.listdir(tmp_path / "log")) == ["0000000001.json", "0000000002.json"]
    assert list(await (await local(tmp_path)).entries_since(0)) == [entry(1), entry(2)]


async def test_an_entry_whose_predecessor_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    await store.append(entry(2))
    (tmp_path / "log" / "0000000002.json").unlink()
    with pytest.raises(StoreCorrupt) as caught:
        await store.append(entry(3))
    assert "log/0000000002.json is missing" in caught.value.message
    assert os.listdir(tmp_path / "log") == ["0000000001.json"]


# -- another process holds the lock

_HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()


async def test_a_lock_held_by_another_process_is_an_answer_and_not_a_hang(tmp_path: Path) -> None:
    store = await local(tmp_path, timeout_s=0.3)
    with _held(tmp_path / "lock"):
        with pytest.raises(StoreUnavailable) as caught:
            await store.append(entry(1))
        assert not isinstance(caught.value, OutcomeUnknown)
        assert "lock: locked by another process" in caught.value.message
        with pytest.raises(StoreUnavailable) as caught:
            await local(tmp_path, timeout_s=0.3)
        assert "lock: locked by another process" in caught.value.message
        assert list(await store.entries_since(0)) == []  # reading needs no lock
    await (await local(tmp_path)).append(entry(1))


# -- a disk that hangs


class _Hang:
    """Keeps the first fsync of a folder, or of a file, from returning until `release` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: Callable[[object], bool]) -> None:
        self.reached, self.release = threading.Event(), threading.Event()
        real = os.fsync

        def hanging(descriptor: int) -> None:
            if when(descriptor) and not self.reached.is_set():
                self.reached.set()
                self.release.wait()
            real(descriptor)

        monkeypatch.setattr(os, "fsync", hanging)

    async def wait_reached(self) -> None:
        await trio.to_thread.run_sync(self.reached.wait)


async def _fails(ask: Callable[[], Awaitable[object]], outcomes: list[type[Exception]]) -> None:
    try:
        await ask()
    except StoreUnavailable as fault:
        outcomes.append(type(fault))


@pytest.mark.parametrize(
    ("hung_at", "outcome", "landed"),
    [(_is_file, StoreUnavailable, []), (_is_folder, OutcomeUnknown, [entry(1)])],
    ids=["before the link", "after the link"],
)
async def test_a_hung_disk_ends_in_an_answer_that_the_log_bears_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mock_clock: MockClock,
    hung_at: Callable[[object], bool],
    outcome: type[Exception],
    landed: list[object],
) -> None:
    store = await local(tmp_path)
    hang = _Hang(monkeypatch, hung_at)
    outcomes: list[type[Exception]] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fails, lambda: store.append(entry(1)), outcomes)
            await hang.wait_reached()
            mock_clock.jump(31)
        assert outcomes == [outcome]
        async with trio.open_nursery() as nursery:  # the lane is still kept by the hung call
            nursery.start_soon(_fails, lambda: store.append(entry(1)), outcomes)
            nursery.start_soon(_fails, lambda: store.entries_since(0), outcomes)
            await wait_all_tasks_blocked()
            mock_clock.jump(31)
        assert outcomes == [outcome, StoreUnavailable, StoreUnavailable]
    finally:
        hang.release.set()
    assert list(await store.entries_since(0)) == landed
    assert [one for one in os.listdir(tmp_path / "log") if one.endswith(".tmp")] == []


async def test_an_append_under_way_is_not_torn_from_its_answer_by_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await local(tmp_path)
    hang = _Hang(monkeypatch, _is_file)
    answers: list[str] = []

    async def ask() -> None:
        await store.append(entry(1))
        answers.append("stored")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await hang.wait_reached()
        nursery.cancel_scope.cancel(reason="the test asks for it")
        hang.release.set()
    assert answers == ["stored"]
    assert list(await store.entries_since(0)) == [entry(1)]


async def test_a_read_can_be_cancelled_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await local(tmp_path)
    await store.append(entry(1))
    hang = _Hang(monkeypatch, _is_folder)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.entries_since, 0)
            await hang.wait_reached()
            nursery.cancel_scope.cancel(reason="the test asks for it")
    finally:
        hang.release.set()
    assert list(await store.entries_since(0)) == [entry(1)]


async def test_opening_again_and_again_on_a_hung_disk_costs_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    hang = _Hang(monkeypatch, _is_folder)
    outcomes: list[type[Exception]] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fails, lambda: local(tmp_path), outcomes)
            await hang.wait_reached()
            mock_clock.jump(31)
        threads = threading.active_count()
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_fails, lambda: local(tmp_path), outcomes)
                await wait_all_tasks_blocked()
                mock_clock.jump(31)
        assert outcomes == [StoreUnavailable] * 4
        assert threading.active_count() <= threads
    finally:
        hang.release.set()
    await (await local(tmp_path)).append(entry(1))
