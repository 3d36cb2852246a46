"""The message of `/ws/status` as a worker of SIE v0.1.10 sends it and as a router of that release reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUMBER = (int, float)

# Every documented field of the message and what it holds; of the lists, of each of their elements.
FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "timestamp": NUMBER,
    "ready": bool,
    "name": str,
    "machine_profile": str,
    "pool_name": str,
    "gpu_count": int,
    "bundle": str,
    "bundle_config_hash": str,
    "loaded_models": list,
    "max_batch_requests": int,
    "server": dict,
    "gpus": list,
    "models": list,
    "counters": dict,
    "histograms": dict,
}
SERVER: Mapping[str, type | tuple[type, ...]] = {
    "version": str,
    "uptime_seconds": int,
    "user": str,
    "working_dir": str,
    "pid": int,
}
MODEL: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "state": str,
    "device": (str, type(None)),
    "memory_bytes": int,
    "config": dict,
    "queue_depth": int,
    "queue_pending_items": int,
}
STATES = {"available", "loading", "loaded", "unloading"}


def misfits(message: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, str]:
    """What is absent or of another type, by name."""
    found = {}
    for name, wanted in fields.items():
        if name not in message:
            found[name] = "absent"
        elif not isinstance(message[name], wanted) or (isinstance(message[name], bool) and wanted is not bool):
            found[name] = type(message[name]).__name__
    return found


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a router of that release takes out of a message, each with the value it takes where the field is absent."""

    name: str
    ready: bool
    bundle: str
    bundle_config_hash: str
    machine_profile: str
    pool_name: str
    gpu_count: int
    loaded_models: Sequence[str]
    queue_depth: int
    max_batch_requests: int
    memory_used_bytes: int
    memory_total_bytes: int


def hear(message: Mapping[str, Any]) -> Heard:
    return Heard(
        name=message.get("name", ""),
        ready=message.get("ready", False),
        bundle=message.get("bundle", "default"),
        bundle_config_hash=message.get("bundle_config_hash", ""),
        machine_profile=message.get("machine_profile", ""),
        pool_name=message.get("pool_name", ""),
        gpu_count=message.get("gpu_count", 1),
        loaded_models=message.get("loaded_models", []),
        queue_depth=sum(one.get("queue_depth", 0) for one in message.get("models", [])),
        max_batch_requests=message.get("max_batch_requests", 64),
        memory_used_bytes=sum(one.get("memory_used_bytes", 0) for one in message.get("gpus", [])),
        memory_total_bytes=sum(one.get("memory_total_bytes", 0) for one in message.get("gpus", [])),
    )
