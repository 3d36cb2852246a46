"""An app's error in the log, without the groups that nurseries put round it."""

from __future__ import annotations

import logging


def log_fault(log: logging.Logger, what: str, error: BaseException) -> None:
    """With its stack. A group of one is shown as that one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    log.error("%s: %r", what, error, exc_info=error)
