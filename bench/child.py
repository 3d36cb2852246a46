"""A process of a benchmark's own: told what to do by lines, answering in lines of JSON, ended by its id."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

_PATIENCE_S = 60
_END_S = 10


class Child:
    """`python -m module *arguments`. It ends when its standard input does; one that does not is killed."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Returns once it has said its first line, which is `ready`."""
        self._what = " ".join((module, *arguments))
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment) if environment is not None else None,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = self.hear()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises RuntimeError if it ends, or says nothing for a minute."""
        try:
            line = self._lines.get(timeout=_PATIENCE_S)
        except queue.Empty:
            line = ""
        if not line:
            raise RuntimeError(f"{self._what} says nothing more")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, line: str) -> dict[str, Any]:
        self.tell(line)
        return self.hear()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._lines.put(line)
        except ValueError:  # closed under us, at the end
            pass
        self._lines.put("")


def say(**content: Any) -> None:
    """In a child: one line to whoever started it."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()
