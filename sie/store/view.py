# Rule: everything here blocks, and nothing here writes or takes a lock: processes may be using the store.
"""The objects of a store, only to be looked at: in a directory, or in a bucket."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from sie.errors import OutcomeUnknown, StoreUnavailable
from sie.store import bucket as steps
from sie.store.address import Address
from sie.store.bucket import Bucket
from sie.store.files import is_temporary, reaching
from sie.store.layout import ID, LOG, SNAPSHOT
from sie.store.legacy import LegacyStore, read_legacy
from sie.store.open import connect
from sie.store.survey import Survey

T = TypeVar("T")

_AT_ONCE = 16  # GETs; more gain nothing, for by then the client library's own time is the limit
_PAUSES_S = (0.1, 1.2)  # before the second and the third try of a question that got no clean answer


class View(Protocol):
    """`place`: its path or URL. `near`: what cannot be read there is at fault itself; else the way there may be."""

    place: str
    near: bool

    def names(self, folder: str) -> list[str]:
        """What lies directly in the folder. Raises StoreUnavailable."""

    def get(self, name: str) -> bytes | None:
        """None: there is no such object. Raises StoreUnavailable."""

    def get_all(self, names: Iterable[str]) -> Iterator[bytes | StoreUnavailable | None]:
        """What `get` returns or raises for each, in their order."""

    def legacy(self) -> LegacyStore | None:
        """What SIE v0.1.10 left at the same place, None if it never was there. Raises StoreUnavailable."""


@contextmanager
def open_view(store: str, timeout_s: float) -> Iterator[View]:
    """The store in this directory or at this URL. `timeout_s`: the longest pause in an answer of a service.

    Raises ConfigurationError for an address that is none, or whose client library is not installed.
    """
    if "://" not in store:
        yield _Folder(Path(store).expanduser())
        return
    bucket = connect(Address.read(store), timeout_s)
    try:
        yield _InBucket(bucket)
    finally:
        bucket.close()


def look_over(view: View) -> Survey:
    """Read the names; a writer may be at work. Raises StoreUnavailable, also where there is no store."""
    snapshots, before, names = view.names(SNAPSHOT), view.names(LOG), view.names(LOG)
    survey = Survey.of(snapshots=snapshots, before=before, names=names)
    if not view.near and not (snapshots or names) and view.get(ID) is None:  # a bucket has no empty folders
        raise StoreUnavailable(f"config store, {view.place}: there is none")
    return survey


class _Folder:
    near = True

    def __init__(self, base: Path) -> None:
        self.place = str(base)
        self._base = base

    def names(self, folder: str) -> list[str]:
        with reaching(self._base):
            return [name for name in os.listdir(self._base / folder) if not is_temporary(name)]

    def get(self, name: str) -> bytes | None:
        with reaching(self._base / name):
            try:
                return (self._base / name).read_bytes()
            except FileNotFoundError:
                return None

    def get_all(self, names: Iterable[str]) -> Iterator[bytes | StoreUnavailable | None]:
        return (_caught(partial(self.get, name)) for name in names)

    def legacy(self) -> LegacyStore | None:
        return read_legacy(self._base)


class _InBucket:
    near = False

    def __init__(self, bucket: Bucket) -> None:
        self.place = bucket.place
        self._bucket = bucket

    def names(self, folder: str) -> list[str]:
        return _asked(partial(self._bucket.names, folder))

    def get(self, name: str) -> bytes | None:
        return _asked(partial(self._bucket.get, name))

    def get_all(self, names: Iterable[str]) -> Iterator[bytes | StoreUnavailable | None]:
        waiting = iter(names)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while window := list(islice(waiting, _AT_ONCE)):
                yield from pool.map(lambda name: _caught(partial(self.get, name)), window)

    def legacy(self) -> LegacyStore | None:
        names = _asked(partial(steps.legacy_names, self._bucket))
        epoch = _asked(partial(steps.legacy_epoch, self._bucket))
        if not names and epoch is None:
            return None
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            documents = pool.map(lambda name: _asked(partial(steps.legacy_document, self._bucket, name)), names)
            return LegacyStore(epoch=epoch or 0, documents=tuple(sorted(documents)))


def _caught(ask: Callable[[], T]) -> T | StoreUnavailable:
    try:
        return ask()
    except StoreUnavailable as fault:
        return fault


def _asked(ask: Callable[[], T]) -> T:
    """Silence is asked again."""
    for pause_s in _PAUSES_S:
        try:
            return ask()
        except OutcomeUnknown:
            time.sleep(pause_s)
    try:
        return ask()
    except OutcomeUnknown as fault:  # nothing was sent that could have an outcome
        raise StoreUnavailable(fault.message) from fault
