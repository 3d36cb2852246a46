# Rule: everything here blocks, and belongs in a thread.
"""Durable files: what is put is whole, is put once, and outlives a power cut."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sie.errors import OutcomeUnknown, StoreUnavailable

# A temporary file this old belongs to nobody: its writer was killed. A live one is renamed within a store's time limit.
ABANDONED_AFTER_S = 60.0

_CURES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EFBIG: "raise the limit on file sizes",
    errno.EACCES: "let this process read and write there",
    errno.EPERM: "let this process read and write there",
    errno.EROFS: "let this process write there, or choose another SIE_CONFIG_STORE_DIR",
    errno.ENOLCK: "choose a file system that can lock files",
    errno.EOPNOTSUPP: "choose a file system that can lock files",
    errno.ENOTDIR: "SIE_CONFIG_STORE_DIR must name a directory",
    errno.EEXIST: "SIE_CONFIG_STORE_DIR must name a directory",
}
# File systems without hard links answer a link with one of these.
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# After these a link or rename has certainly not happened; after any other error it may have.
_REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG),
}


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Say an OSError as StoreUnavailable, with the path and the cure."""
    try:
        yield
    except OSError as fault:
        raise StoreUnavailable(_said(path, fault)) from fault


def _said(path: Path, fault: OSError) -> str:
    cure = _CURES.get(fault.errno or 0)
    return f"config store, {path}: {fault.strerror or fault}" + (f"; {cure}" if cure else "")


@contextmanager
def locked(path: Path, *, patience_s: float) -> Iterator[None]:
    """Hold the file locked against every other opener of it, in this process or another.

    Asks again and again instead of waiting in the kernel, where a stuck holder would keep this thread for ever.
    Raises StoreUnavailable after `patience_s`.
    """
    with reaching(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with reaching(path):
            _wait_locked(descriptor, path, patience_s)
        yield
    finally:
        os.close(descriptor)  # which unlocks it


def _wait_locked(descriptor: int, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    pause_s = 0.0005  # one append of another process takes a few ms
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            raise StoreUnavailable(f"config store, {path}: locked by another process for {patience_s:g} s")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.01)


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_folder(path: Path) -> None:
    """Make it and what is missing above it, each one fsynced into its parent. Raises OSError."""
    missing = [one for one in (path, *path.parents) if not one.is_dir()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)  # another process may be making it too
        fsync_folder(one.parent)


def fsync_folder(path: Path) -> None:
    """Make the names in it durable. Raises OSError."""
    with open_folder(path) as folder:
        os.fsync(folder)


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def put_if_absent(target: Path, content: bytes, *, may_land: Callable[[], bool] = lambda: True) -> bool:
    """Put a whole file there, durably; False if something is there already. The caller holds the lock.

    `may_land` is asked once, right before the file appears: False withdraws it.
    Raises StoreUnavailable: it is not there and will not be; OutcomeUnknown: it may be.
    """
    with reaching(target):
        temporary = _write_temporary(target.parent, content)
    try:
        if not may_land():
            raise StoreUnavailable(f"config store, {target}: withdrawn before it was written")
        if not _land(temporary, target):
            return False
    finally:
        with suppress(OSError):  # it stays, and is swept away one day
            temporary.unlink(missing_ok=True)
    try:
        fsync_folder(target.parent)
    except OSError as fault:
        raise OutcomeUnknown(f"{_said(target, fault)}; it is there, and may not outlive a power cut") from fault
    return True


def replace(target: Path, content: bytes) -> None:
    """Put a whole file there, durably, over what is there. Raises OSError."""
    temporary = _write_temporary(target.parent, content)
    try:
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)


def is_there(path: Path) -> bool:
    """`os.path.lexists` says no to any error; here one that is not absence is raised."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Remove the temporary files of writers that were killed. Raises OSError."""
    for one in folder.iterdir():
        with suppress(FileNotFoundError):  # its writer is alive after all
            if is_temporary(one.name) and time.time() - one.stat().st_mtime > ABANDONED_AFTER_S:
                one.unlink()


def is_temporary(name: str) -> bool:
    return name.startswith(".put-") and name.endswith(".tmp")


def _write_temporary(folder: Path, content: bytes) -> Path:
    temporary = folder / f".put-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def _land(temporary: Path, target: Path) -> bool:
    """Give the file its name; False if the name is taken. A link never replaces anything, whoever ignores the lock."""
    try:
        try:
            os.link(temporary, target)
        except OSError as fault:
            if fault.errno not in _NO_HARD_LINKS:
                raise
            if is_there(target):
                return False
            os.rename(temporary, target)
    except FileExistsError:
        return False
    except OSError as fault:
        kind = StoreUnavailable if fault.errno in _REFUSALS else OutcomeUnknown
        raise kind(_said(target, fault)) from fault
    return True
