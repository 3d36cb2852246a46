"""Status connections that go wrong: what one peer sends, or does not, costs its own link and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.client import Client
from tests.faults.cluster import Part, healthy, open_cluster
from tests.faults.verdict import judge
from tests.test_cluster import until

MIB = 1024 * 1024
LARGE = 50 * MIB
GROWTH_MOST = 32 * MIB  # of a process that is offered messages of 50 MiB, again and again


# -- WebSocket by hand


def frame(content: bytes, *, kind: int = 1, last: bool = True, length: int | None = None) -> bytes:
    """As servers send it, unmasked. `length`: what it says of itself."""
    return struct.pack("!BBQ", (0x80 if last else 0) | kind, 127, len(content) if length is None else length) + content


def accept(peer: socket.socket) -> None:
    """The server's half of a handshake."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(4096) or b"\r\n\r\n"
    key = next(
        line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-k")
    )
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    peer.sendall(b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n")


def dial(part: Part) -> socket.socket:
    """A router's half of one, up to and with the answer."""
    peer = socket.create_connection(("127.0.0.1", part.port), timeout=5)
    peer.sendall(
        b"GET /ws/status HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(b"0" * 16) + b"\r\n\r\n"
    )
    assert peer.recv(4096).startswith(b"HTTP/1.1 101")
    return peer


# -- workers that are none


def says_nothing(peer: socket.socket) -> None:
    time.sleep(60)


def says_half_a_handshake(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 101 Switching Proto")
    time.sleep(60)


def says_no_http(peer: socket.socket) -> None:
    peer.sendall(b"\x00\xff" * 10_000)


def says_a_handshake_without_end(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
    for _ in range(LARGE // MIB):
        peer.sendall(b"X-Header: " + b"x" * MIB + b"\r\n")


def says_no_frame(peer: socket.socket) -> None:
    accept(peer)
    peer.sendall(b"\xff" * 10_000)


def says_no_status(peer: socket.socket) -> None:
    accept(peer)
    for one in (b"[]", b"\xff\xfe", b"{}" * 1000, b"[" * 100_000, json.dumps({"ready": 1, "name": []}).encode()):
        peer.sendall(frame(one))
    time.sleep(60)


def says_a_large_status(peer: socket.socket) -> None:
    accept(peer)
    peer.sendall(frame(b"", length=LARGE))
    for _ in range(LARGE // MIB):
        peer.sendall(b"x" * MIB)


def says_a_status_without_end(peer: socket.socket) -> None:
    accept(peer)
    peer.sendall(frame(b'"', last=False))
    for _ in range(LARGE // 8192):
        peer.sendall(frame(b"x" * 8192, kind=0, last=False))


def falls_silent_after_the_handshake(peer: socket.socket) -> None:
    accept(peer)
    time.sleep(60)


NO_WORKERS = (
    says_nothing,
    says_half_a_handshake,
    says_no_http,
    says_a_handshake_without_end,
    says_no_frame,
    says_no_status,
    says_a_large_status,
    says_a_status_without_end,
    falls_silent_after_the_handshake,
)


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of somebody who treats everybody who dials in so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(peer: socket.socket) -> None:
            with peer, suppress(OSError, StopIteration):
                behave(peer)

        def answer() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


# -- the tests


def most_resident_bytes(part: Part) -> int:
    """The most memory it has ever occupied."""
    assert part.running is not None
    status = Path(f"/proc/{part.running.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def test_who_listens_where_a_worker_should_costs_a_router_only_that_link(tmp_path: Path) -> None:
    with ExitStack() as stack, open_cluster(tmp_path, routers=0, workers=["default"], started=False) as cluster:
        (worker,) = cluster.workers
        strangers = [stack.enter_context(listening(one)) for one in NO_WORKERS]
        plain, troubled = cluster.router(), cluster.router(dialled=[*strangers, worker.address])
        cluster.start()
        cluster.wait_whole()
        client = Client(cluster)
        with client.stream(clients=2):
            time.sleep(2)
        grown = most_resident_bytes(troubled) - most_resident_bytes(plain)
        assert grown < GROWTH_MOST
        assert {(one.status, one.acked, one.pending) for one in client.answers} == {(201, 1, False)}
        assert {one["url"] for one in healthy(troubled)} == {worker.address}
        judge(cluster, client)
        for url in strangers:  # none fills the log
            assert troubled.output.count(f"{url},") <= 4, troubled.output
        assert "Traceback" not in troubled.output


def masked(content: bytes, *, length: int | None = None) -> bytes:
    """As clients send it; the mask is nought, and so changes nothing."""
    return struct.pack("!BBQ4x", 0x81, 0x80 | 127, len(content) if length is None else length) + content


def sends_garbage(peer: socket.socket) -> None:
    peer.sendall(b"\xff" * 10_000)


def sends_messages(peer: socket.socket) -> None:
    for _ in range(2000):
        peer.sendall(masked(b"\x00{" * 100))


def sends_a_large_message(peer: socket.socket) -> None:
    peer.sendall(masked(b"", length=LARGE))
    for _ in range(LARGE // MIB):
        peer.sendall(b"x" * MIB)


def reads_nothing(peer: socket.socket) -> None:
    time.sleep(2)


def hangs_up(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


NO_ROUTERS = (sends_garbage, sends_messages, sends_a_large_message, reads_nothing, hangs_up)


@pytest.mark.slow
def test_who_dials_a_worker_and_is_no_router_does_not_disturb_those_who_are(tmp_path: Path) -> None:
    with open_cluster(tmp_path, routers=1, workers=["default"]) as cluster:
        (worker,) = cluster.workers
        before = most_resident_bytes(worker)

        def disturb(behave: Callable[[socket.socket], None]) -> None:
            for _ in range(3):
                with dial(worker) as peer, suppress(OSError):
                    behave(peer)

        disturbers = [threading.Thread(target=disturb, args=(one,)) for one in NO_ROUTERS]
        client = Client(cluster)
        with client.stream(clients=2):
            for one in disturbers:
                one.start()
            for one in disturbers:
                one.join()
        assert most_resident_bytes(worker) - before < GROWTH_MOST
        assert {(one.status, one.acked, one.pending) for one in client.answers} == {(201, 1, False)}
        judge(cluster, client)
        assert "Traceback" not in worker.output
        until(lambda: httpx.get(f"{worker.address}/readyz").status_code, 200, 2)
