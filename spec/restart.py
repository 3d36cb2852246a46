"""One restart of the target for all cases that want one: it happens when each of them has got there."""

from __future__ import annotations

import subprocess
import threading
import time

MOST_S = 60.0


class RestartFailed(Exception):
    """The text says how the command ended."""


class Restart:
    """`awaited`: how many cases there are; each of them calls `arrive` or `leave`, once."""

    def __init__(self, command: str, awaited: int) -> None:
        self._command = command
        self._awaited = awaited
        self._waiting = 0
        self._changed = threading.Condition()
        self._done = False
        self._fault: str | None = None

    def arrive(self) -> float:
        """Returns when the target has been restarted: after so many seconds. Raises RestartFailed."""
        began = time.monotonic()
        with self._changed:
            self._waiting += 1
            self._restart_if_all_are_there()
            self._changed.wait_for(lambda: self._done)
        if self._fault is not None:
            raise RestartFailed(self._fault)
        return time.monotonic() - began

    def leave(self) -> None:
        """A case ended before it got there: it is not waited for."""
        with self._changed:
            self._awaited -= 1
            self._restart_if_all_are_there()

    def _restart_if_all_are_there(self) -> None:
        if self._done or not self._waiting or self._waiting < self._awaited:
            return
        self._fault = _run(self._command)
        self._done = True
        self._changed.notify_all()


def _run(command: str) -> str | None:
    """What went wrong, if anything did."""
    try:
        done = subprocess.run(
            command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=MOST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end within {MOST_S:.0f} s"
    if done.returncode == 0:
        return None
    return f"exit status {done.returncode}: {(done.stdout + done.stderr).decode('utf-8', 'replace')}"
