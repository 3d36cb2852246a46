"""`bundle_config_hash` as SIE v0.1.10 computes it: its routers in one form, its workers in another.

Written by hand, character by character, and from the description of the format alone: it shares nothing with what it
judges.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def worker_hash(models: Mapping[str, Mapping[str, Any]]) -> str:
    """By sie_id, each model as its document says it. Every profile counts; options have both sub-keys or are null."""
    return _hash([_model(sie_id, models[sie_id], _worker_options, None) for sie_id in sorted(models)], _ascii_json)


def router_hash(models: Mapping[str, Mapping[str, Any]], adapters: Sequence[str]) -> str:
    """The models that this bundle's `adapters` have to do with; of those the profiles of other bundles are left out."""
    return _hash([_model(sie_id, models[sie_id], _router_options, adapters) for sie_id in sorted(models)], _utf8_json)


def worker_text(models: Mapping[str, Mapping[str, Any]]) -> str:
    """What `worker_hash` hashes."""
    return _ascii_json([_model(sie_id, models[sie_id], _worker_options, None) for sie_id in sorted(models)])


def _hash(models: Sequence[Any], write: Any) -> str:
    return hashlib.sha256(write(models).encode()).hexdigest() if models else ""


def _model(sie_id: str, document: Mapping[str, Any], options: Any, adapters: Sequence[str] | None) -> dict[str, Any]:
    profiles = []
    for name, profile in sorted(document["profiles"].items()):
        path = profile.get("adapter_path")
        if adapters is not None and path is not None and path.partition(":")[0] not in adapters:
            continue
        config = {key: profile.get(key) for key in ("adapter_path", "max_batch_tokens", "compute_precision")}
        profiles.append({"name": name, "config": {**config, "adapter_options": options(profile)}})
    return {"sie_id": sie_id, "profiles": profiles}


def _router_options(profile: Mapping[str, Any]) -> Any:
    options = profile.get("adapter_options")
    return options if options and any(options.values()) else None


def _worker_options(profile: Mapping[str, Any]) -> Any:
    said = profile.get("adapter_options") or {}
    options = {"loadtime": said.get("loadtime") or {}, "runtime": said.get("runtime") or {}}
    return options if any(options.values()) else None


def _utf8_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _ascii_json(value: Any) -> str:
    """Sorted, without spaces, everything beyond printable ASCII escaped; what is no number is null."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else "null"
        case str():
            return '"' + "".join(map(_ascii_character, value)) + '"'
        case list():
            return "[" + ",".join(map(_ascii_json, value)) + "]"
        case dict():
            return "{" + ",".join(f"{_ascii_json(key)}:{_ascii_json(value[key])}" for key in sorted(value)) + "}"
    raise TypeError(type(value).__name__)


def _ascii_character(one: str) -> str:
    if one in _SHORT:
        return _SHORT[one]
    if " " <= one <= "~":
        return one
    units = one.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
