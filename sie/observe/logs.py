"""Logs: a readable line each, or one JSON object a line."""

from __future__ import annotations

import datetime
import json
import logging
import sys

from sie.errors import ConfigurationError

LEVELS = ("debug", "info", "warning", "error")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Plain(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")


def configure_logs(*, level: str, as_json: bool) -> None:
    """Send this package's logs to stderr, and others' warnings. For programs: a library leaves logs alone.

    Raises ConfigurationError for a level that is none.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"SIE_LOG_LEVEL={level!r}: say {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Plain())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sie").setLevel(level.upper())
