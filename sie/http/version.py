"""Our version, as every answer says it."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version

VERSION_HEADER = "X-SIE-Server-Version"


@functools.cache
def server_version() -> str:
    """Read once: it takes most of a millisecond, and every status that a worker sends says it."""
    try:
        return version("sie")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
