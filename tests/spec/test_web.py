"""The HTTP client, at servers that do what servers may, and what they may not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from spec.answer import Answer
from spec.request import Request
from spec.web import NoAnswer, send
from tests.spec.servers import raw_server

OK = b"HTTP/1.1 200 OK\r\n"


def ask(meet: Callable[[socket.socket], None], **keys: Any) -> Answer:
    request = Request(**{"method": "GET", "target": "/a?b=%20", "headers": {}, **keys})
    with raw_server(meet) as port:
        return send(f"http://127.0.0.1:{port}/base/", request, deadline=time.monotonic() + 10)


def test_a_request_is_sent_as_it_is() -> None:
    def meet(one: socket.socket) -> None:
        received = b""
        while not received.endswith("\r\n\r\né".encode()):
            received += one.recv(1 << 16)
        one.sendall(OK + b"Content-Length: %d\r\n\r\n%s" % (len(received), received))

    text = ask(meet, method="POST", headers={"X-Odd": "é"}, body="é".encode()).text
    assert text.startswith("POST /base/a?b=%20 HTTP/1.1\r\n")
    assert "X-Odd: é\r\n" in text
    assert text.endswith("Content-Length: 2\r\n\r\né")


def test_headers_that_come_twice_are_joined() -> None:
    answer = ask(lambda one: one.sendall(OK + b"A: 1\r\nB: x\r\na: 2\r\nContent-Length: 0\r\n\r\n"))
    assert answer.headers["a"] == "1, 2"


def test_an_answer_counts_though_the_body_was_not_taken() -> None:
    def meet(one: socket.socket) -> None:
        one.recv(1000)
        one.sendall(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        one.shutdown(socket.SHUT_WR)
        while one.recv(1 << 16):
            time.sleep(0.001)

    answer = ask(meet, method="POST", body=b"x" * (1 << 20))
    assert (answer.status, answer.body) == (413, b"{}")


def test_a_stream_is_read_up_to_what_is_looked_for() -> None:
    def meet(one: socket.socket) -> None:
        one.recv(1000)
        one.sendall(OK + b"Connection: close\r\n\r\nevent: a\n")
        one.sendall(b"event: b\n")
        one.recv(1)

    assert "event: b" in ask(meet, until="b\n").text


@pytest.mark.parametrize("ending", [b"Connection: close\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3\r\n"])
def test_a_stream_without_it_is_what_came_in_time(ending: bytes) -> None:
    def meet(one: socket.socket) -> None:
        one.recv(1000)
        one.sendall(OK + ending + b"abc")
        one.recv(1)

    answer = ask(meet, until="never", patience_s=0.2)
    assert answer.text == "abc"


def drips_headers(one: socket.socket) -> None:
    one.sendall(OK)
    while True:
        one.sendall(b"X: y\r\n")
        time.sleep(0.02)


def drips_a_body(one: socket.socket) -> None:
    one.sendall(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        one.sendall(b"x")
        time.sleep(0.02)


def stops_in_the_body(one: socket.socket) -> None:
    one.sendall(OK + b"Content-Length: 10\r\n\r\nabc")
    one.recv(1 << 16)
    one.recv(1)


def ends_in_the_body(one: socket.socket) -> None:
    one.recv(1 << 16)
    one.sendall(OK + b"Content-Length: 10\r\n\r\nabc")


@pytest.mark.parametrize("meet", [drips_headers, drips_a_body, stops_in_the_body, ends_in_the_body])
def test_what_does_not_end_as_it_should_is_no_answer_in_time(meet: Callable[[socket.socket], None]) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswer):
        ask(meet, patience_s=0.2)
    assert time.monotonic() - began < 5
