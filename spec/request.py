"""An HTTP request as a case writes it, variables filled in, ready to be sent. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from spec.case import METHODS

Role = Literal["admin", "reader", "nobody", "wrong", "empty"]

# Long enough for a POST that waits its documented 3 s, with much to spare.
_PATIENCE_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What the target was started with, as far as the run was told."""

    admin: str | None = None
    reader: str | None = None

    def shown_by(self, role: Role) -> str | None:
        """The Authorization header of a role, if it sends one. A reader without a token of its own has the admin's."""
        match role:
            case "admin" if self.admin or self.reader:
                return f"Bearer {self.admin or self.reader}"
            case "reader" if self.reader or self.admin:
                return f"Bearer {self.reader or self.admin}"
            case "wrong":
                return "Bearer no-token-of-this-target"
            case "empty":
                return "Bearer "
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`target`: path and query, encoded. `until`: see case.schema.yaml. `patience_s`: when it is given up."""

    method: str
    target: str
    router: Literal["router", "router2"] = "router"
    role: Role = "nobody"
    headers: Mapping[str, str]
    body: bytes | None = None
    until: str | None = None
    patience_s: float = _PATIENCE_S

    def __str__(self) -> str:
        lines = [f"{self.method} {self.target}" + (" on router2" if self.router == "router2" else "")]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body is not None:
            text = self.body[:2000].decode("utf-8", "backslashreplace")
            more = f"… ({len(self.body)} bytes)" if len(self.body) > 2000 else ""
            lines += ["", text.rstrip("\n") + more]
        return "\n".join(lines)


def read_request(step: Mapping[str, Any], tokens: Tokens) -> Request:
    """The request of a step whose variables are filled in."""
    (method,) = step.keys() & METHODS
    role: Role = step.get("as", "admin" if method == "post" else "reader")
    headers: dict[str, str] = {}
    if shown := tokens.shown_by(role):
        headers["Authorization"] = shown
    body, content_type = _body(step)
    if content_type is not None:
        headers["Content-Type"] = content_type
    for name, value in step.get("headers", {}).items():
        for one in [known for known in headers if known.lower() == name.lower()]:
            del headers[one]
        if value is not None:
            headers[name] = str(value)
    within_s = step.get("expect", {}).get("within_s")
    return Request(
        method=method.upper(),
        target=quote(step[method], safe="/?&=%:,~+@!$'()*;[]"),
        router=step.get("on", "router"),
        role=role,
        headers=headers,
        body=body,
        until=step.get("until"),
        patience_s=within_s if "until" in step and within_s else _PATIENCE_S,
    )


def _body(step: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    """The body and what it is sent as, unless the case's own headers say otherwise."""
    if "json" in step:
        return json.dumps(step["json"], ensure_ascii=False).encode(), "application/json"
    if "base64" in step:
        return base64.b64decode(step["base64"]), "application/x-yaml"
    if "repeat" in step:
        repeat = step["repeat"]
        text = repeat.get("before", "") + repeat["text"] * repeat["times"] + repeat.get("after", "")
        return text.encode(), "application/x-yaml"
    if "body" in step:
        return str(step["body"]).encode(), "application/x-yaml"
    return None, None
