"""Who is asked, and with which bytes."""

from __future__ import annotations

import json

import httptools
import msgpack
import pytest

from bench.load.target import Target, read_target


class Heard:
    """A request, read back."""

    def __init__(self, request: bytes) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(request)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def test_ours_is_asked_for_an_encode_with_a_deadline() -> None:
    heard = Heard(read_target("ours=sie+http://127.0.0.1:81", "org/model").request("a text", 250))
    assert (heard.method, heard.url, heard.complete) == (b"POST", b"/v1/encode/org/model", True)
    assert heard.headers["host"] == "127.0.0.1:81"
    assert heard.headers["accept"] == heard.headers["content-type"] == "application/msgpack"
    assert heard.headers["x-sie-timeout-ms"] == "250"
    assert msgpack.unpackb(heard.body) == {"items": [{"text": "a text"}]}


def test_others_are_asked_for_an_embedding() -> None:
    heard = Heard(read_target("other=openai+http://host:8080/api/v1/", "name").request("é", 250))
    assert (heard.url, heard.complete) == (b"/api/v1/embeddings", True)
    assert json.loads(heard.body) == {"model": "name", "input": "é"}
    assert "x-sie-timeout-ms" not in heard.headers


def test_a_target_is_the_same_after_its_way_to_another_process() -> None:
    target = read_target("a=sie+http://host")
    assert target.port == 80
    assert Target(**json.loads(json.dumps(target.written()))) == target


@pytest.mark.parametrize(
    "said", ["http://host", "a=http://host", "a=grpc+http://host", "=sie+http://h", "a=sie+https://h", "a=sie+h:80"]
)
def test_what_cannot_be_asked_is_refused(said: str) -> None:
    with pytest.raises(ValueError):
        read_target(said)
