"""A store directory as SIE v0.1.10 wrote it: read, never touched."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sie.store.files import reaching

log = logging.getLogger(__name__)

_EPOCH_DIGITS = 15  # more is garbage: nobody posted that often


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyStore:
    """`epoch`: how many writes it counted. `documents`: each model's id and its YAML, in the order of the ids."""

    epoch: int
    documents: tuple[tuple[str, bytes], ...]


def read_legacy(path: str | Path) -> LegacyStore | None:
    """What v0.1.10 left in this directory; None if it never wrote there. Blocks.

    Raises StoreUnavailable, naming the file, for what is there and cannot be read: that is not "missing".
    """
    base = Path(path)
    documents, epoch = _documents(base / "models"), _epoch(base / "epoch")
    if documents is None and epoch is None:
        return None
    return LegacyStore(epoch=epoch or 0, documents=documents or ())


def _documents(folder: Path) -> tuple[tuple[str, bytes], ...] | None:
    with reaching(folder):
        try:
            files = [one for one in folder.iterdir() if one.suffix == ".yaml"]
        except FileNotFoundError:
            return None
    return tuple(sorted((one.stem.replace("__", "/"), _content(one)) for one in files))


def _content(file: Path) -> bytes:
    with reaching(file):
        return file.read_bytes()


def _epoch(file: Path) -> int | None:
    """Garbage counts as 0, with a warning: that release wrote such itself, and then refused every further write."""
    with reaching(file):
        try:
            text = file.read_bytes().strip()
        except FileNotFoundError:
            return None
    if text.isdigit() and len(text) <= _EPOCH_DIGITS:
        return int(text)
    if text:
        log.warning("%s holds %.40r, which is no number: it counts as 0", file, text)
    return 0
