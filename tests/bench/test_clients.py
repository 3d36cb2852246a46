"""The generator's connections against a server that answers in every way there is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.load.clients import FAILED, Clients, Ended
from bench.load.generator import closed_loop, open_loop
from bench.load.outcome import UNANSWERED, outcome_of
from bench.load.target import Target

GOOD = b"HTTP/1.1 200 OK\r\nX-Inference-Time: 4.25\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = {
    b"/good": GOOD,
    b"/full": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    b"/late": b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n",
    b"/pieces": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"/last": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
    b"/torn": b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok",
    b"/nonsense": b"no HTTP at all\r\n\r\n",
}
_CLOSES = (b"/last", b"/torn", b"/nonsense")


def request(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".encode()


@contextmanager
def server() -> Iterator[Target]:
    """Answers by path; nothing to /silence."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock:
            while asked := sock.recv(65536):
                path = asked.split()[1]
                if path in ANSWERS:
                    for byte in (ANSWERS[path][:20], ANSWERS[path][20:]):  # in two pieces
                        sock.sendall(byte)
                if path in _CLOSES:
                    return

    def accept() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        host, port = listening.getsockname()
        yield Target(name="test", kind="sie", host=host, port=port)
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(5)


def ask_all(target: Target, *paths: str) -> list[Ended]:
    """All at once; what became of them by number."""
    ended: dict[int, Ended] = {}
    clients = Clients(target.host, target.port, lambda one: ended.update({one.number: one}))
    for number, path in enumerate(paths):
        clients.ask(number, request(path))
    deadline = time.monotonic() + 5
    while clients.under_way and time.monotonic() < deadline:
        clients.wait(0.1)
    clients.close()
    assert not clients.under_way
    return [ended[number] for number in range(len(paths))]


def test_each_request_ends_once_with_its_status() -> None:
    paths = {
        "/good": 200,
        "/full": 503,
        "/late": 504,
        "/pieces": 200,
        "/last": 200,
        "/torn": FAILED,
        "/nonsense": FAILED,
    }
    with server() as target:
        ended = ask_all(target, *paths)
    assert [one.status for one in ended] == list(paths.values())
    assert [one.run_ms for one in ended] == [4.25, *[None] * 6]


def test_nobody_listening_is_a_failure_and_not_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    [ended] = ask_all(Target(name="none", kind="sie", host="127.0.0.1", port=port), "/good")
    assert ended.status == FAILED


def test_a_connection_is_kept_for_the_next_request_and_a_closed_one_is_not() -> None:
    ended: list[Ended] = []
    with server() as target:
        clients = Clients(target.host, target.port, ended.append)
        for number, path in enumerate(("/good", "/good", "/last", "/good")):
            clients.ask(number, request(path))
            while clients.under_way:
                clients.wait(1)
        kept = len(clients._open)
        clients.close()
    assert [one.status for one in ended] == [200] * 4
    assert kept == 1


def test_latency_counts_from_the_schedule_and_not_from_the_answer_before() -> None:
    """A server that says nothing is asked no less often."""
    with server() as target:
        times = [0.0, 0.01, 0.02, 0.03]
        bodies = [request("/silence"), request("/good")]
        found = outcome_of(open_loop(target, bodies, times, 0.05, deadline_ms=50, patience_s=0.2))
    assert found.status == [UNANSWERED, 200, UNANSWERED, 200]
    assert found.failed == 2
    assert found.batches_ms == [4.25]
    assert all(0 <= lag <= took for lag, took in list(zip(found.lag_ms, found.took_ms, strict=True))[1::2])


@pytest.mark.parametrize("connections", [1, 4])
def test_a_closed_loop_asks_as_often_as_it_is_told(connections: int) -> None:
    with server() as target:
        found = closed_loop(target, [request("/good"), request("/full")], connections, 5, most=20)
    assert found["counts"] == {"200": 10, "503": 10}


def test_a_closed_loop_over_a_time_ends_with_it() -> None:
    with server() as target:
        began = time.monotonic()
        found = closed_loop(target, [request("/good")], 2, 0.2)
    assert time.monotonic() - began < 4
    assert found["rate"] > 0
    assert set(found["counts"]) == {"200"}
