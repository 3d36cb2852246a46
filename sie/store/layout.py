# Rule: names and bytes only; nothing here touches a disk.
"""Where things lie under a store's base, and the frame that tells an intact snapshot from a torn one."""

from __future__ import annotations

import json
import re

from sie.catalog.canonical import Json, canonical, sha256_hex
from sie.errors import StoreCorrupt

ID = "id"
LOG = "log"
SNAPSHOT = "snapshot"
LOCK = "lock"
PROBE = "probe"

SNAPSHOT_FORMAT = 1

_NUMBERED = re.compile(r"([0-9]{10,})\.json", re.ASCII)


def numbered(revision: int) -> str:
    """The name of an entry or a snapshot: ten digits, so that a listing is in order."""
    return f"{revision:010d}.json"


def number_in(name: str) -> int | None:
    """The revision a name stands for; None for a name that `numbered` never gives."""
    match = _NUMBERED.fullmatch(name)
    if match is None or numbered(revision := int(match[1])) != name or revision == 0:
        return None
    return revision


def frame_snapshot(revision: int, content: bytes) -> bytes:
    """One line of JSON that vouches for what follows it, then the content as it is."""
    header: dict[str, Json] = {"format": SNAPSHOT_FORMAT, "revision": revision, "sha256": sha256_hex(content)}
    return canonical(header) + b"\n" + content


def unframe_snapshot(framed: bytes, *, name: str, revision: int) -> bytes | None:
    """The content; None if it is torn, altered, renumbered or not ours, which the log makes good.

    Raises StoreCorrupt for an unknown format: a newer build wrote here, and its entries may be beyond us too.
    """
    line, _, content = framed.partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        return None
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        return None
    if header["format"] != SNAPSHOT_FORMAT:
        raise StoreCorrupt(
            f"{name} has format {header['format']} and this build reads {SNAPSHOT_FORMAT}: upgrade, or remove the "
            "file, for the log has everything that is in it",
            name=name,
        )
    return content if header == {**header, "revision": revision, "sha256": sha256_hex(content)} else None
