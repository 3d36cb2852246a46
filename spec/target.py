"""What is judged: its addresses, what it can do, and what of its own the cases use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spec.answer import Answer, Unreadable
from spec.nats import NatsFailed, open_subscriber
from spec.request import Request, Tokens
from spec.web import NoAnswer, send

_PAGE_MODULE = "sie_server.adapters.sentence_transformer"
_PAGE_ADAPTER = f"{_PAGE_MODULE}:SentenceTransformerAdapter"
_FIRST_S = 5.0  # a target that says nothing for so long cannot be judged


class Unreachable(Exception):
    """The run cannot be made. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """What the command line gave. `restart`: a shell command that returns when the target is up again."""

    router: str
    router2: str | None = None
    worker: str | None = None
    nats: str | None = None
    restart: str | None = None
    tokens: Tokens = field(default_factory=Tokens)

    def secrets(self) -> Mapping[str, str]:
        """What may not be printed, to what stands for it."""
        given = {self.tokens.admin: "<admin token>", self.tokens.reader: "<auth token>"}
        return {secret: name for secret, name in given.items() if secret}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target that answers. `adapter` and `bundle`: its own, for the cases' models."""

    addresses: Addresses
    adapter: str
    bundle: str
    name: str
    version: str
    connected_workers: int

    def lacks(self, need: str) -> str | None:
        """Why a case that needs this is skipped; None if it is not."""
        at = self.addresses
        has, why = {
            "two-routers": (at.router2, "needs a second router: --router2 URL"),
            "nats": (at.nats, "needs the NATS server: --nats nats://…"),
            "worker": (at.worker, "needs a worker's address: --worker URL"),
            "restart": (at.restart, "needs a way to restart the target: --restart COMMAND"),
            "durable": (at.restart, "needs a store and a way to restart the target: --restart COMMAND"),
            "tokens": (at.tokens.admin, "needs a target with an admin token: --admin-token"),
            "reader-token": (at.tokens.reader, "needs a target with a reader's token: --auth-token"),
            "open": (not (at.tokens.admin or at.tokens.reader), "needs a target without tokens"),
            "workers": (self.connected_workers > 0, "needs a target with connected workers"),
            "no-workers": (self.connected_workers == 0, "needs a target without workers"),
        }[need]
        return None if has else why


def find_target(addresses: Addresses) -> Target:
    """Ask the target what it has. Raises Unreachable where nobody answers; odd answers are for the cases."""
    bundles = _first(addresses, "/v1/configs/bundles")
    if addresses.router2:
        _ask(addresses, "/v1/configs/bundles", base=addresses.router2)
    if addresses.worker:
        _ask(addresses, "/readyz", base=addresses.worker)
    if addresses.nats:
        _look_for_nats(addresses.nats)
    listed = [one for one in _list(bundles, "bundles") if isinstance(one, dict)]
    bundle = str(listed[0].get("bundle_id")) if listed else "default"
    document = _ask(addresses, f"/v1/configs/bundles/{bundle}")
    try:
        modules = [one for one in document.yaml["adapters"] if isinstance(one, str)]
    except (Unreadable, LookupError, TypeError):
        modules = []
    adapter = _PAGE_ADAPTER if not modules or _PAGE_MODULE in modules else f"{modules[0]}:Adapter"
    name, version = _identity(addresses, bundles)
    counts = [one.get("connected_workers") for one in listed]
    return Target(
        addresses=addresses,
        adapter=adapter,
        bundle=bundle,
        name=name,
        version=version,
        connected_workers=sum(one for one in counts if isinstance(one, int)),
    )


def _first(addresses: Addresses, path: str) -> Answer:
    answer = _ask(addresses, path)
    if answer.status in (401, 403):
        raise Unreachable(
            f"GET {path} answers {answer.status}: give the target's tokens, --admin-token and --auth-token"
        )
    return answer


def _ask(addresses: Addresses, path: str, *, base: str | None = None) -> Answer:
    shown = addresses.tokens.shown_by("reader")
    headers = {"Authorization": shown} if shown else {}
    request = Request(method="GET", target=path, headers=headers)
    at = base or addresses.router
    try:
        return send(at, request, deadline=time.monotonic() + _FIRST_S)
    except NoAnswer as fault:
        raise Unreachable(f"{at} does not answer: {fault}") from None


def _look_for_nats(url: str) -> None:
    try:
        with open_subscriber(url, deadline=time.monotonic() + _FIRST_S):
            pass
    except NatsFailed as fault:
        raise Unreachable(str(fault)) from None


def _identity(addresses: Addresses, answer: Answer) -> tuple[str, str]:
    """The name and version in /openapi.json; a version in X-SIE-Server-Version counts before that."""
    try:
        info: Any = _ask(addresses, "/openapi.json").json["info"]
        name, version = str(info["title"]), str(info["version"])
    except (Unreadable, LookupError, TypeError):
        name, version = "unknown", "unknown"
    said = answer.headers.get("x-sie-server-version", version)
    return name, said.split(",")[0].strip()


def _list(answer: Answer, key: str) -> list[Any]:
    try:
        found = answer.json[key]
    except (Unreadable, LookupError, TypeError):
        return []
    return found if isinstance(found, list) else []
