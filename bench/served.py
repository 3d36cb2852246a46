"""`sie serve` with the built-in all-MiniLM-L6-v2 loaded and run once, and what it says of itself."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load.target import Target
from bench.texts import MODEL
from tests.processes import Served, sie_serve

_PATIENCE_S = 120
_NUMBERS = {
    "batches": "sie_batches_total",
    "items": "sie_batch_items_total",
    "tokens": "sie_tokens_processed_total",
    "padding": "sie_padding_tokens_total",
    "seconds": "sie_batch_seconds_total",
    "waiting": "sie_queue_depth",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the device has done so far, and what waits: batches, items in them, their tokens, the padding beside those,
    seconds they took."""

    batches: float
    items: float
    tokens: float
    padding: float
    seconds: float
    waiting: float

    def __sub__(self, other: Work) -> Work:
        return Work(**{name: getattr(self, name) - getattr(other, name) for name in _NUMBERS})


@contextmanager
def serving(environment: Mapping[str, str] | None = None, *, patience_s: int = _PATIENCE_S) -> Iterator[Served]:
    """Entered when the model answers. Raises RuntimeError if it does not within `patience_s`."""
    own = {"SIE_PRELOAD": MODEL, "SIE_LOG_LEVEL": "warning", **(environment or {})}
    with sie_serve(environment=own) as served:
        body = json.dumps({"items": [{"text": "is it there?"}]}).encode()
        headers = {"Content-Type": "application/json", "Prefer": f"wait={patience_s}"}
        asked = urllib.request.Request(f"{served.address}/v1/encode/{MODEL}", body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=patience_s):
                pass
        except OSError as fault:
            raise RuntimeError(f"sie serve does not serve the model: {fault}") from fault
        yield served


def target_at(address: str, name: str = "sie") -> Target:
    """A server of ours."""
    place = urlsplit(address)
    return Target(name=name, kind="sie", host=place.hostname or "", port=place.port or 80)


def work_of(target: Target) -> Work:
    """As `/metrics` says it now."""
    with urllib.request.urlopen(f"http://{target.host}:{target.port}/metrics", timeout=_PATIENCE_S) as answer:
        page: str = answer.read().decode()
    return Work(**{name: _figure(page, called) for name, called in _NUMBERS.items()})


def idle(target: Target) -> Work:
    """What was done when nothing waits or runs any more. Raises TimeoutError."""
    ends = time.monotonic() + _PATIENCE_S
    before = work_of(target)
    while time.monotonic() < ends:
        time.sleep(0.25)
        now = work_of(target)
        if not now.waiting and now == before:
            return now
        before = now
    raise TimeoutError(f"{target} does not come to rest")


def _figure(page: str, name: str) -> float:
    found = re.search(rf"(?m)^{name} (\S+)$", page)
    if found is None:
        raise RuntimeError(f"/metrics does not say {name}")
    return float(found[1])
