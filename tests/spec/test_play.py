"""Cases played at servers that do just one thing wrong, or right: what is held against them, and what is not."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from spec.case import read_case
from spec.play import Failed, Play, Skipped
from spec.request import Tokens
from spec.restart import Restart
from spec.target import Addresses, Target
from tests.bus.natsserver import NatsServer
from tests.spec.servers import http_server

Answer = Callable[[str, str, bytes], tuple[int, bytes]]


def play(answer: Answer, steps: str, *, nats: str | None = None, restart: str | None = None) -> Play:
    """Played to its end, at a target that answers so."""
    case = read_case(f"clause: C-001\nshows: It is.\nsteps:\n{steps}", "a/b")
    with http_server(answer) as url:
        addresses = Addresses(router=url, nats=nats, restart=restart, tokens=Tokens(admin="boss"))
        target = Target(
            addresses=addresses, adapter="m:C", bundle="default", name="n", version="v", connected_workers=0
        )
        deadline = time.monotonic() + 10
        one = Play(case, target, deadline, "r", Restart(restart, 1) if restart else None)
        one.run()
    return one


def failing(answer: Answer, steps: str, **keys: Any) -> Failed:
    with pytest.raises(Failed) as failed:
        play(answer, steps, **keys)
    return failed.value


class Models:
    """Knows the ids that were posted; refuses what is not JSON. `careless`: and keeps it all the same."""

    def __init__(self, *, careless: bool = False) -> None:
        self.known: set[str] = set()
        self._careless = careless

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if method == "GET":
            return (200, path.encode()) if path.removeprefix("/v1/configs/models/") in self.known else (404, b"{}")
        with suppress(ValueError):
            self.known.add(json.loads(body)["sie_id"])
            return 201, body
        if self._careless:
            self.known.add("conformance-r/b")
        return 400, b'{"error": "parse_error"}'


REFUSED = """
- post: /v1/configs/models
  body: "{"
  expect: {status: 400}
  cured: {json: {sie_id: $model}}
"""


def test_a_refusal_that_changes_nothing_and_can_be_cured_is_right() -> None:
    models = Models()
    play(models, REFUSED)
    assert models.known == {"conformance-r/b"}


def test_a_refusal_that_changes_something_is_wrong() -> None:
    failed = failing(Models(careless=True), REFUSED)
    assert "then GET the model" in failed.doing
    assert "404" in failed.expected
    assert "200" in failed.actual
    play(Models(careless=True), REFUSED + "  unchanged: false\n")


def test_a_fault_that_hides_another_is_found() -> None:
    failed = failing(Models(), REFUSED.replace("{json: {sie_id: $model}}", "{body: still not JSON}"))
    assert "without its fault" in failed.doing
    assert "parse_error" in failed.actual


def test_what_is_saved_is_used() -> None:
    steps = """
- post: /v1/configs/models
  json: {sie_id: $model, numbers: [{of: a, n: 7}]}
  expect: {status: 201}
  save: {number: "json.numbers[of=a].n", type: headers.content-type, code: status}
- post: /v1/configs/models
  json: {sie_id: $model-$number, again: $number, type: $type, code: $code}
  expect: {json: {sie_id: $model-7, again: 7, type: application/json, code: 201}}
"""
    assert play(Models(), steps).variables["number"] == 7


def test_what_the_target_has_none_of_is_skipped_and_what_its_answer_lacks_is_wrong() -> None:
    steps = "- get: /\n  save: {name: 'json.models[source=filesystem].id'}\n"
    with pytest.raises(Skipped):
        play(lambda *_: (200, b'{"models": []}'), steps)
    assert "step 1" in failing(lambda *_: (200, b"{}"), steps).doing


def test_a_request_is_repeated_until_its_answer_is_as_expected() -> None:
    tries = count(1)
    steps = "- repeat_until: {get: /, expect: {json: 3}, within_s: 5}\n"
    play(lambda *_: (200, b"%d" % next(tries)), steps)
    assert next(tries) == 4
    failed = failing(lambda *_: (200, b"0"), steps.replace("within_s: 5", "within_s: 0.1"))
    assert failed.expected == "json: 3"


def test_requests_together_are_each_judged_and_all_of_them() -> None:
    tries = count()
    steps = "- together: [{post: /, json: 1, times: 3}]\n  expect_statuses: {$unordered: [200, 201, 200]}\n"
    play(lambda *_: (201 if next(tries) == 1 else 200, b"{}"), steps)
    assert next(tries) == 3
    assert failing(lambda *_: (200, b"{}"), steps).expected.startswith("statuses:")
    assert "status" in failing(lambda *_: (200, b"{}"), "- together: [{get: /, expect: {status: 404}}]\n").expected


def test_a_target_that_goes_away_is_wrong_and_not_an_error() -> None:
    def answer(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        raise ConnectionError("gone")

    assert failing(answer, "- get: /\n  expect: {status: 200}\n").expected == "an answer"


def publisher(server: NatsServer) -> Answer:
    """Tells what is posted on the subject that the path names."""

    def answer(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            one.sendall(b"CONNECT {}\r\nPUB %s %d\r\n%s\r\nPING\r\n" % (path[1:].encode(), len(body), body))
            while b"PONG" not in one.recv(4096):
                pass
        return 200, b"{}"

    return answer


SAID = """
- subscribe: [a.one, a.two]
- {post: /a.one, json: {n: 1}}
- {post: /a.two, json: {n: 2}}
"""


def test_a_message_is_heard_once_in_any_order(nats: NatsServer) -> None:
    steps = SAID + "- {heard: {on: a.two, json: {n: $n}}, save: {two: json.n}}\n".replace("$n", "{$type: int}")
    steps += "- {heard: {on: a.one, json: {n: 1}}}\n- {unheard: {on: a.two, within_s: 0.1}}\n"
    assert play(publisher(nats), steps, nats=nats.url).variables["two"] == 2


@pytest.mark.parametrize(
    ("step", "actual"),
    [
        ("{heard: {on: a.one, json: {n: 2}, within_s: 0.1}}", "a.one"),
        ("{heard: {on: a.three, within_s: 0.1}}", "a.two"),
        ("{unheard: {on: a.two, json: {n: 2}, within_s: 0.1}}", "a.two"),
    ],
)
def test_a_message_that_is_missing_or_too_many_is_wrong(step: str, actual: str, nats: NatsServer) -> None:
    failed = failing(publisher(nats), f"{SAID}- {step}\n", nats=nats.url)
    assert failed.doing.startswith("step 4")
    assert actual in failed.actual


def test_a_restart_that_fails_is_told_with_its_command() -> None:
    failed = failing(Models(), "- restart: true\n", restart="exit 3")
    assert "exit 3" in failed.doing
    assert "exit status 3" in failed.actual
