"""A real nats-server: started on a free loopback port, killed, paused and started again on the same one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import trio

from tests.ports import free_port

_BINARY = Path(sys.executable).parent / "nats-server"
_START_S = 10


class NatsServer:
    """`options`: lines of its configuration file, beside where to listen."""

    def __init__(self, options: str = "") -> None:
        self.port = free_port()
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it listens."""
        config = Path(self._folder.name) / "nats.conf"
        config.write_text(f"listen: 127.0.0.1:{self.port}\n{self.options}\n")
        self._process = subprocess.Popen([str(_BINARY), "-c", str(config)], stderr=subprocess.PIPE)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"nats-server did not start: {self.kill().decode()}")

    def kill(self) -> bytes:
        """As a power cut would. Returns its log."""
        if self._process is None:
            return b""
        self._process.kill()
        _, log = self._process.communicate()
        self._process = None
        return log

    def pause(self) -> None:
        """The kernel goes on accepting connections for it, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # it takes a moment

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> NatsServer:
        self._folder = tempfile.TemporaryDirectory(prefix="nats-")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()


class Stranger:
    """Anybody who can reach the server: speaks its protocol by hand, and none of this project's code."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server

    async def __aenter__(self) -> Stranger:
        self._stream = await trio.open_tcp_stream("127.0.0.1", self._server.port)
        self._unread = b""
        assert (await self._line()).startswith(b"INFO")
        await self._send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()

    async def say(self, subject: str | bytes, content: bytes | dict[str, object], *, reply: str = "") -> None:
        """Returns once the server has it."""
        said = json.dumps(content).encode() if isinstance(content, dict) else content
        to = subject.encode() if isinstance(subject, str) else subject
        await self._send(b"PUB %s %s %d\r\n%s\r\nPING\r\n" % (to, reply.encode(), len(said), said))
        await self._until(b"PONG")

    async def say_with_header(self, subject: str, header: bytes, content: bytes) -> None:
        sizes = (len(header), len(header) + len(content))
        await self._send(b"HPUB %s %d %d\r\n%s%s\r\nPING\r\n" % (subject.encode(), *sizes, header, content))
        await self._until(b"PONG")

    async def listen(self, pattern: str, *, group: str = "") -> None:
        """Returns once the server knows."""
        await self._send(f"SUB {pattern} {group} 1\r\nPING\r\n".encode())
        await self._until(b"PONG")

    async def hear(self) -> tuple[str, str, bytes]:
        """The next message: its subject, where an answer goes, what it says."""
        _, subject, _, *rest = (await self._until(b"MSG")).decode().split()
        reply, size = rest if len(rest) == 2 else ("", rest[0])
        while len(self._unread) < int(size) + 2:
            self._unread += await self._stream.receive_some()
        content, self._unread = self._unread[: int(size)], self._unread[int(size) + 2 :]
        return subject, reply, content

    async def _send(self, content: bytes) -> None:
        await self._stream.send_all(content)

    async def _until(self, verb: bytes) -> bytes:
        while not (line := await self._line()).startswith(verb):
            assert not line.startswith(b"-ERR"), line
        return line

    async def _line(self) -> bytes:
        while b"\r\n" not in self._unread:
            received = await self._stream.receive_some()
            assert received, "the server has closed the connection"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line
