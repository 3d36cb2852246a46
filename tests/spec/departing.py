"""A proxy before the real thing that departs from the page in one way, as SIE v0.1.10 did, or as somebody might."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from tests.spec.servers import serving

MODELS = "/v1/configs/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. `headers` by lower-case name."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def adds(self) -> bool:
        return self.method == "POST" and self.path.partition("?")[0] == MODELS

    @property
    def document(self) -> Mapping[str, Any]:
        """The posted model, empty where it is none."""
        try:
            found = yaml.safe_load(self.body)
        except (yaml.YAMLError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer. `headers` by lower-case name, without those about the connection."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def with_json(self, body: Mapping[str, Any], *, status: int | None = None) -> Said:
        headers = {**self.headers, "content-type": "application/json"}
        return Said(status=status or self.status, headers=headers, body=json.dumps(body).encode())


Ask = Callable[[Asked], Said]
# What comes between: it asks the real thing, with the request as it came or with another, or does not.
Departure = Callable[[Asked, Ask], Said]


def no_departure(asked: Asked, ask: Ask) -> Said:
    return ask(asked)


@contextmanager
def departing(upstream: str, departure: Departure) -> Iterator[str]:
    """The URL of something that is like `upstream` but for this."""
    address = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            asked = Asked(method=self.command, path=self.path, headers=headers, body=body)
            if self.path.startswith("/v1/configs/watch"):
                self._stream(asked)
            else:
                self._answer(departure(asked, lambda one: _ask(address, one)))

        def _answer(self, said: Said) -> None:
            self.send_response_only(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body)

        def _stream(self, asked: Asked) -> None:
            connection, response = _open(address, asked)
            self.send_response_only(response.status)
            for name, value in _headers(response).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                while piece := response.read1(1 << 16):
                    self.wfile.write(piece)
                    self.wfile.flush()
            finally:
                connection.close()

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield url


def _open(address: str, asked: Asked) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(address, timeout=30)
    headers = {name: value for name, value in asked.headers.items() if name not in ("host", "content-length")}
    body = asked.body if asked.body or asked.method in ("POST", "PUT", "PATCH") else None
    connection.request(asked.method, asked.path, body, headers)
    return connection, connection.getresponse()


def _ask(address: str, asked: Asked) -> Said:
    connection, response = _open(address, asked)
    try:
        return Said(status=response.status, headers=_headers(response), body=response.read())
    finally:
        connection.close()


def _headers(response: http.client.HTTPResponse) -> Mapping[str, str]:
    about_the_connection = ("connection", "content-length", "transfer-encoding", "keep-alive")
    return {name.lower(): value for name, value in response.getheaders() if name.lower() not in about_the_connection}


# -- what SIE v0.1.10 did otherwise than the page says


def another_content_is_422(asked: Asked, ask: Ask) -> Said:
    said = ask(asked)
    if not (asked.adds and said.status == 409):
        return said
    body = {"error": "validation_error", "details": [{"message": "exists"}], "message": "exists"}
    headers = {**said.headers, "x-sie-error-code": "validation_error"}
    return replace(said, headers=headers).with_json({**body, "detail": body}, status=422)


def errors_are_wrapped(asked: Asked, ask: Ask) -> Said:
    said = ask(asked)
    if said.status < 400 or not asked.path.startswith("/v1/configs") or asked.method == "HEAD":
        return said
    return said.with_json({"detail": {name: value for name, value in said.json.items() if name != "detail"}})


def a_repeat_has_no_counts(asked: Asked, ask: Ask) -> Said:
    said = ask(asked)
    if not (asked.adds and said.status == 200):
        return said
    counts = {"eligible_bundles_count", "eligible_bundles_with_workers_count"}
    counts |= {"acked_workers", "total_eligible", "pending_workers"}
    return said.with_json({name: value for name, value in said.json.items() if name not in counts})


def pending_until_all_have_confirmed(asked: Asked, ask: Ask) -> Said:
    """One of two workers has."""
    said = ask(asked)
    if not (asked.adds and said.status == 201 and said.json["acked_workers"]):
        return said
    total = said.json["total_eligible"]
    counts = {"total_eligible": total + 1, "pending_workers": 1, "worker_ack_pending": True}
    return said.with_json({**said.json, **counts})


def a_shipped_model_is_three_keys(asked: Asked, ask: Ask) -> Said:
    said = ask(asked)
    name = asked.path.removeprefix(f"{MODELS}/")
    if asked.method != "GET" or said.status != 200 or name == asked.path or name.startswith("conformance-"):
        return said
    return replace(said, body=yaml.safe_dump({"bundles": ["default"], "sie_id": name, "source": "filesystem"}).encode())


def a_default_without_its_options_conflicts(asked: Asked, ask: Ask) -> Said:
    """Who appends to a model repeats its default whole, or is refused."""
    if asked.adds and isinstance(profiles := asked.document.get("profiles"), dict):
        known = ask(replace(asked, method="GET", path=f"{MODELS}/{quote(str(asked.document.get('sie_id')))}", body=b""))
        stored = yaml.safe_load(known.body)["profiles"] if known.status == 200 else {}
        for name in profiles.keys() & stored.keys():
            posted = profiles[name] if isinstance(profiles[name], dict) else {}
            if stored[name].get("adapter_options") and not posted.get("adapter_options"):
                body = {"error": "validation_error", "message": "differs", "details": [{"message": "differs"}]}
                return Said(status=422, body=b"").with_json({**body, "detail": body})
    return ask(asked)


def an_append_erases_what_it_leaves_out(asked: Asked, ask: Ask) -> Said:
    """Fields beside the profiles, once a model has a second one."""
    said = ask(asked)
    if asked.method != "GET" or said.status != 200 or not asked.path.startswith(f"{MODELS}/"):
        return said
    model = yaml.safe_load(said.body)
    if len(model["profiles"]) > 1:
        model = {"sie_id": model["sie_id"], "profiles": model["profiles"]}
    return replace(said, body=yaml.safe_dump(model, sort_keys=False).encode())


def everything_is_from_the_filesystem(asked: Asked, ask: Ask) -> Said:
    said = ask(asked)
    if asked.method != "GET" or asked.path != MODELS or said.status != 200:
        return said
    return said.with_json({"models": [{**one, "source": "filesystem"} for one in said.json["models"]]})


# -- what somebody might do


def readers_may_write(admin_token: str) -> Departure:
    def departure(asked: Asked, ask: Ask) -> Said:
        if asked.adds and "reader" in asked.headers.get("authorization", ""):
            asked = replace(asked, headers={**asked.headers, "authorization": f"Bearer {admin_token}"})
        return ask(asked)

    return departure


def keys_are_ignored(asked: Asked, ask: Ask) -> Said:
    headers = {name: value for name, value in asked.headers.items() if name != "idempotency-key"}
    return ask(replace(asked, headers=headers))


def broken_yaml_is_422(asked: Asked, ask: Ask) -> Said:
    said = ask(asked)
    return replace(said, status=422) if asked.adds and said.status == 400 else said


def a_rehearsal_creates(asked: Asked, ask: Ask) -> Said:
    return ask(replace(asked, path=MODELS) if asked.adds else asked)


def every_change_takes_three_seconds(asked: Asked, ask: Ask) -> Said:
    """As where no worker ever confirms."""
    said = ask(asked)
    if asked.adds and said.status < 300 and "dry_run" not in asked.path:
        time.sleep(3)
    return said
