"""A server to be asked: where it is, what it speaks, and a request to it as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import msgpack

from bench.texts import MODEL

KINDS = ("sie", "openai")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`kind`: `sie`, an encode in msgpack both ways, or `openai`, an embedding in JSON. `path`: before the route."""

    name: str
    kind: str
    host: str
    port: int
    path: str = ""
    model: str = MODEL

    def request(self, text: str, deadline_ms: float | None = None) -> bytes:
        """Head and body. A deadline is told to servers that know of one."""
        if self.kind == "sie":
            body: bytes = msgpack.packb({"items": [{"text": text}]})
            lines = [f"POST {self.path}/v1/encode/{self.model} HTTP/1.1", *_speaking("application/msgpack")]
            if deadline_ms is not None:
                lines.append(f"x-sie-timeout-ms: {deadline_ms:g}")
        else:
            body = json.dumps({"model": self.model, "input": text}).encode()
            lines = [f"POST {self.path}/v1/embeddings HTTP/1.1", *_speaking("application/json")]
        lines += [f"host: {self.host}:{self.port}", f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def written(self) -> Mapping[str, Any]:
        """For `Target(**…)` in another process."""
        return asdict(self)


def read_target(said: str, model: str = MODEL) -> Target:
    """`NAME=KIND+http://host:port[/path]`. Raises ValueError saying what is wrong with it."""
    name, _, rest = said.partition("=")
    kind, _, url = rest.partition("+")
    if not name or kind not in KINDS or not url:
        raise ValueError(f"{said!r}: say NAME=sie+http://host:port or NAME=openai+http://host:port")
    place = urlsplit(url)
    if place.scheme != "http" or place.hostname is None:
        raise ValueError(f"{url!r}: only http://host:port can be measured; TLS would be measured with it")
    path = place.path.rstrip("/").removesuffix("/v1")
    return Target(name=name, kind=kind, host=place.hostname, port=place.port or 80, path=path, model=model)


def _speaking(content_type: str) -> tuple[str, str]:
    return f"content-type: {content_type}", f"accept: {content_type}"
