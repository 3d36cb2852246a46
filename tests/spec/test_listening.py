"""The two clients that listen: NATS, at a real server, and a worker's status, at one that does all a server may."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable

import pytest

from spec.nats import NatsFailed, open_subscriber
from spec.status import NoStatus, open_status
from tests.bus.natsserver import NatsServer, Stranger
from tests.spec.servers import raw_server


def soon(seconds: float = 5) -> float:
    return time.monotonic() + seconds


async def test_a_subscriber_hears_what_is_said_on_its_subjects_in_order(nats: NatsServer) -> None:
    with open_subscriber(nats.url, deadline=soon()) as subscriber:
        subscriber.subscribe("a.one", deadline=soon())
        subscriber.subscribe("a.two", deadline=soon())
        async with Stranger(nats) as stranger:
            await stranger.say("a.one", {"n": 1})
            await stranger.say("a.three", {"n": 2})
            await stranger.say("a.two", b"no json \xff", reply="back.to.me")
            await stranger.say_with_header("a.one", b"NATS/1.0\r\nk: v\r\n\r\n", b"\r\n" * 100_000)
        heard = [subscriber.hear(deadline=soon()) for _ in range(3)]
        assert [one and (one.subject, one.json) for one in heard] == [
            ("a.one", {"n": 1}),
            ("a.two", "no json \\xff"),
            ("a.one", "\r\n" * 100_000),
        ]
        assert subscriber.hear(deadline=soon(0.05)) is None


@pytest.mark.parametrize(
    ("options", "url"),
    [('authorization { user: u, password: "p@" }', "u:p%40"), ("authorization { token: t }", "t")],
)
def test_a_subscriber_logs_in_with_what_the_url_says(options: str, url: str) -> None:
    with NatsServer(options) as server:
        with open_subscriber(f"nats://{url}@127.0.0.1:{server.port}", deadline=soon()) as subscriber:
            subscriber.subscribe("a", deadline=soon())
        with (
            open_subscriber(f"nats://wrong@127.0.0.1:{server.port}", deadline=soon()) as subscriber,
            pytest.raises(NatsFailed) as refused,
        ):
            subscriber.subscribe("a", deadline=soon())
        assert "Authorization Violation" in str(refused.value)


def test_a_server_that_goes_away_is_told(nats: NatsServer) -> None:
    with open_subscriber(nats.url, deadline=soon()) as subscriber:
        nats.kill()
        with pytest.raises(NatsFailed):
            subscriber.hear(deadline=soon())
    with pytest.raises(NatsFailed), open_subscriber(nats.url, deadline=soon()):
        pass


def test_what_does_not_speak_nats_is_told() -> None:
    with (
        raw_server(lambda one: one.sendall(b"220 mail.example ESMTP\r\n")) as port,
        pytest.raises(NatsFailed) as refused,
        open_subscriber(f"nats://127.0.0.1:{port}", deadline=soon()),
    ):
        pass
    assert "does not speak NATS" in str(refused.value)


def frame(kind: int, content: bytes, *, last: bool = True) -> bytes:
    size = len(content)
    if size < 126:
        said = bytes([size])
    elif size < 65536:
        said = b"\x7e" + struct.pack(">H", size)
    else:
        said = b"\x7f" + struct.pack(">Q", size)
    return bytes([kind | (0x80 if last else 0)]) + said + content


def shake_hands(one: socket.socket) -> bytes:
    """Returns the request."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += one.recv(4096)
    (key,) = [line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    one.sendall(b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nSEC-WEBSOCKET-ACCEPT: %s\r\n\r\n" % accept)
    return request


def test_messages_come_whole_whatever_their_frames() -> None:
    large = json.dumps({"n": "x" * 70_000}).encode()
    pongs: list[bytes] = []

    def worker(one: socket.socket) -> None:
        request = shake_hands(one)
        one.sendall(frame(1, request.split(b"\r\n")[0]) + frame(1, b"x" * 300) + frame(1, large))
        one.sendall(frame(1, b'{"a"', last=False) + frame(9, b"are you there") + frame(0, b": 1}"))
        masked = one.recv(100)
        mask, hidden = masked[2:6], masked[6:]
        pongs.append(masked[:1] + bytes(byte ^ mask[index % 4] for index, byte in enumerate(hidden)))
        one.sendall(frame(8, b"\x03\xe8"))

    with (
        raw_server(worker) as port,
        open_status(f"http://127.0.0.1:{port}/base/", "Bearer t", deadline=soon()) as messages,
    ):
        heard = [messages.next(deadline=soon()) for _ in range(4)]
        assert heard == ["GET /base/ws/status HTTP/1.1", "x" * 300, large.decode(), '{"a": 1}']
        with pytest.raises(NoStatus) as closed:
            messages.next(deadline=soon())
    assert "closed" in str(closed.value)
    assert pongs == [b"\x8aare you there"]


def test_silence_is_no_message() -> None:
    def worker(one: socket.socket) -> None:
        shake_hands(one)
        one.recv(1)

    with raw_server(worker) as port, open_status(f"http://127.0.0.1:{port}", None, deadline=soon()) as messages:
        assert messages.next(deadline=soon(0.05)) is None


def refuses(one: socket.socket) -> None:
    one.recv(4096)
    one.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")


def pretends(one: socket.socket) -> None:
    one.recv(4096)
    one.sendall(b"HTTP/1.1 101 Fine\r\n\r\n")


@pytest.mark.parametrize(("meet", "named"), [(refuses, "403"), (pretends, "no WebSocket"), (socket.socket.close, "")])
def test_who_has_no_status_is_told(meet: Callable[[socket.socket], None], named: str) -> None:
    with (
        raw_server(meet) as port,
        pytest.raises(NoStatus) as refused,
        open_status(f"http://127.0.0.1:{port}", None, deadline=soon()),
    ):
        pass
    assert named in str(refused.value)


def test_a_frame_beyond_all_reason_is_not_waited_for() -> None:
    def worker(one: socket.socket) -> None:
        shake_hands(one)
        one.sendall(b"\x81\x7f" + struct.pack(">Q", 1 << 40))
        one.recv(1)

    with (
        raw_server(worker) as port,
        open_status(f"http://127.0.0.1:{port}", None, deadline=soon()) as messages,
        pytest.raises(NoStatus),
    ):
        messages.next(deadline=soon())
