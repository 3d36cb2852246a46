"""Real processes of this program: started on a free port, known by their id, ended by it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

_ADDRESS = re.compile(r"serving at (http://\S+)")
_START_S = 30


@dataclass
class Served:
    """One process. `address` once it serves; `output` collects what it has printed."""

    process: subprocess.Popen[str]
    address: str = ""
    output: list[str] = field(default_factory=list)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, within_s: float = 30) -> int:
        """As an operator would. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


def sie_serve(*flags: str, environment: Mapping[str, str] | None = None) -> AbstractContextManager[Served]:
    """`sie serve` on a free port with these flags; killed at the end if it still runs."""
    return sie_process("serve", *flags, environment=environment)


@contextmanager
def sie_process(command: str, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`sie serve`, `sie router` or `sie worker`, as `sie_serve`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "sie.cli", command, "--host", "127.0.0.1", "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**clean, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    served = Served(process)
    up = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            served.output.append(line)
            if found := _ADDRESS.search(line):
                served.address = found[1]
                up.set()
        up.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not up.wait(_START_S) or not served.address:
            raise AssertionError(f"sie {command} did not start:\n" + "".join(served.output))
        yield served
    finally:
        if process.poll() is None:
            served.kill()
        reader.join(5)
        assert process.stdout is not None
        process.stdout.close()
