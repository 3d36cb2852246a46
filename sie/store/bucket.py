# Rule: everything here blocks, and belongs in a thread.
"""What a store needs of a bucket, in six calls, and what it does with them one step at a time."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Protocol

from sie.catalog.entry import Entry, read_entry
from sie.errors import ConfigurationError, StoreCorrupt, StoreReplaced, StoreUnavailable
from sie.store.layout import ID, LOG, PROBE, SNAPSHOT, frame_snapshot, number_in, numbered

log = logging.getLogger(__name__)

_SNAPSHOTS_KEPT = 2  # the newest may be torn; and one may be replaced while somebody reads it
_EPOCH_DIGITS = 15  # more is garbage: nobody posted that often


class Bucket(Protocol):
    """The objects below one address, by name. Usable from several threads at once; no call tries twice on its own.

    A call raises StoreUnavailable, and certainly nothing happened, or OutcomeUnknown: no clean answer, so that it may
    have happened or may happen yet. Messages name the place and, where one is known, the cure. No pause in an answer
    is longer than the time limit the bucket was made with.
    """

    @property
    def place(self) -> str:
        """The address, for people."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """False: something is there, and stays as it is."""

    def put(self, name: str, content: bytes) -> None:
        """Over whatever is there, whole."""

    def get(self, name: str) -> bytes | None:
        """None: the service says that there is no such object. Some say so of a missing bucket too."""

    def names(self, folder: str) -> list[str]:
        """What lies directly in the folder. One without objects is empty; a missing bucket is an error."""

    def delete(self, name: str) -> None:
        """Absent already is as good."""

    def close(self) -> None:
        """Let go of idle connections. Does not block, and calls under way go on."""


def entry_name(revision: int) -> str:
    return f"{LOG}/{numbered(revision)}"


def snapshot_name(revision: int) -> str:
    return f"{SNAPSHOT}/{numbered(revision)}"


# -- opening


def prepare(bucket: Bucket) -> str:
    """Prove that the service keeps its promise, and return the store's id, made if there is none.

    Raises StoreUnavailable, StoreCorrupt (the id is torn, or gone from beside a log), ConfigurationError (conditions on
    writes are ignored) and OutcomeUnknown; doing it again is safe.
    """
    _prove_put_if_absent(bucket)
    content = bucket.get(ID)
    if content is None:
        if bucket.get(entry_name(1)) is not None:
            name = f"{bucket.place}/{ID}"
            cure = "restore it, or write 32 new hexadecimal digits into it"
            raise StoreCorrupt(f"{name} is missing beside a log: {cure}", name=name)
        bucket.put_if_absent(ID, secrets.token_hex(16).encode() + b"\n")
        content = bucket.get(ID)  # ours, or that of whoever was faster
    if content is None:
        raise StoreUnavailable(f"config store, {bucket.place}/{ID}: it was just put, and is not there")
    return _id_in(content, bucket.place)


def find_id(bucket: Bucket) -> str:
    """The id of the store that is there, for who only reads. Raises StoreUnavailable, also where there is none yet."""
    content = bucket.get(ID)
    if content is None:
        raise StoreUnavailable(f"config store, {bucket.place}: no router has made it yet")
    return _id_in(content, bucket.place)


def _prove_put_if_absent(bucket: Bucket) -> None:
    """Whether the first put lands or finds an earlier opener's, the second must be refused."""
    content = b"put if absent is proven on this object each time the store is opened\n"
    if bucket.put_if_absent(PROBE, content) and bucket.put_if_absent(PROBE, content):
        raise ConfigurationError(
            f"{bucket.place}/{PROBE}: an object that was there could be put again, so this service ignores conditions "
            "on writes, and of two routers one would overwrite what the other acknowledged; choose another service"
        )


def _id_in(content: bytes, place: str) -> str:
    match = re.fullmatch(rb"([0-9a-f]{32})\n?", content)
    if match is None:
        name = f"{place}/{ID}"
        raise StoreCorrupt(f"{name} is torn or not ours: it should hold 32 hexadecimal digits", name=name)
    return match[1].decode()


# -- the log


def entry_at(bucket: Bucket, revision: int) -> Entry | None:
    """Raises StoreCorrupt for one that is torn, foreign, of an unknown format or at another's number."""
    content = bucket.get(entry_name(revision))
    return None if content is None else read_entry(content, name=_place_of(bucket, revision), revision=revision)


def confirm_id(bucket: Bucket, store_id: str) -> None:
    """Raises StoreReplaced if another store is there, StoreCorrupt if none is: who begins anew says so by a restart."""
    content = bucket.get(ID)
    if content is not None and _id_in(content, bucket.place) == store_id:
        return
    name = f"{bucket.place}/{ID}"
    if content is not None:
        raise StoreReplaced(f"{name} is another store's: it was replaced while in use", name=name)
    cure = "restore it; or, to begin a new one, restart a router"
    raise StoreCorrupt(f"{name} is gone: the store was emptied while in use; {cure}", name=name)


def confirm_entry(bucket: Bucket, revision: int, write_id: str | None) -> None:
    """Raises StoreCorrupt if the entry is not there, or is not this write's, where that is known."""
    entry = entry_at(bucket, revision)
    if entry is not None and write_id in (None, entry.write_id):
        return
    name = _place_of(bucket, revision)
    said = "is missing: nothing can follow it" if entry is None else "is another entry than it was: the log was redone"
    raise StoreCorrupt(f"{name} {said}; restore it, or restart what uses the store", name=name)


def _place_of(bucket: Bucket, revision: int) -> str:
    return f"{bucket.place}/{entry_name(revision)}"


# -- snapshots


def snapshots(bucket: Bucket) -> list[int]:
    """The revisions that have one, newest first."""
    numbers = (number_in(name) for name in bucket.names(SNAPSHOT))
    return sorted((number for number in numbers if number is not None), reverse=True)


def save_snapshot(bucket: Bucket, revision: int, content: bytes) -> None:
    """Put it, and remove all but the newest."""
    bucket.put(snapshot_name(revision), frame_snapshot(revision, content))
    try:
        for outdated in snapshots(bucket)[_SNAPSHOTS_KEPT:]:
            bucket.delete(snapshot_name(outdated))
    except StoreUnavailable as fault:
        log.warning("there are more than %d snapshots: %s", _SNAPSHOTS_KEPT, fault.message)


# -- what SIE v0.1.10 left


def legacy_names(bucket: Bucket) -> list[str]:
    """Its documents, as objects."""
    return [f"models/{name}" for name in bucket.names("models") if name.endswith(".yaml")]


def legacy_document(bucket: Bucket, name: str) -> tuple[str, bytes]:
    """The model's id and its YAML. It was listed, so that its absence is an error."""
    content = bucket.get(name)
    if content is None:
        raise StoreUnavailable(f"config store, {bucket.place}/{name}: it was listed, and is not there")
    return name.removeprefix("models/").removesuffix(".yaml").replace("__", "/"), content


def legacy_epoch(bucket: Bucket) -> int | None:
    """Garbage counts as 0, with a warning: that release wrote such itself, and then refused every further write."""
    content = bucket.get("epoch")
    if content is None:
        return None
    text = content.strip()
    if text.isdigit() and len(text) <= _EPOCH_DIGITS:
        return int(text)
    if text:
        log.warning("%s/epoch holds %.40r, which is no number: it counts as 0", bucket.place, text)
    return 0
