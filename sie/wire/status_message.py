# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""A worker's status as the JSON that SIE v0.1.10 pushes over `/ws/status`, with this project's additions.

The additions, which older readers ignore: `config_store`, `config_revision`, `config_others` (what it knows of other
stores than that, where routers share none), `config_digest`, `config_nacks`,
`config_nacks_left_out` and a total `queue_depth`. What we write never outgrows STATUS_BYTES, whatever is configured:
lists give up their least telling ends, and the nacks that did not fit are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from sie.errors import ParseError
from sie.wire.status import Nack, WorkerStatus

STATUS_BYTES = 4096  # of one message of ours: every router gets one from every worker at every change

_TEXT_MOST = 1024  # characters of one text that is read; names, hashes and reasons are shorter
_REASON_MOST = 200  # characters of a nack's reason that are written
_NAME_MOST = 120  # of a name that is written: four of them fit even if every character needs six bytes
_BATCH_REQUESTS = 64  # v0.1.10's value where nothing is known; batches here are bounded in tokens
_NACKS_MOST = 1000  # that are read
_STORES_MOST = 64  # that are read

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the worker computes on. Bytes."""

    name: str = "cpu"
    memory_used_bytes: int = 0
    memory_total_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What a status says beside the status: identity and load of the process it comes from."""

    timestamp: float  # seconds since 1970, for people
    version: str
    uptime_s: int
    pid: int
    device: Device = field(default_factory=Device)
    models: Sequence[Mapping[str, Any]] = ()  # {"name", "state", "memory_bytes", "queue_depth"}, none merely configured


def write_status(status: WorkerStatus, process: Process) -> bytes:
    """One text message of at most STATUS_BYTES.

    Kept first: nacks, the newest of them, as POSTs wait for those; then `loaded_models`; then `models`, the busiest.
    """
    gpus = _gpus(status, process.device)
    content: dict[str, Any] = {
        "timestamp": process.timestamp,
        "ready": status.ready,
        "name": status.name[:_NAME_MOST],
        "machine_profile": status.machine_profile[:_NAME_MOST],
        "pool_name": "",
        "gpu_count": len(gpus),
        "bundle": status.bundle[:_NAME_MOST],
        "bundle_config_hash": status.bundle_config_hash,
        "loaded_models": [],
        "max_batch_requests": _BATCH_REQUESTS,
        "queue_depth": status.queue_depth,
        "server": {
            "version": process.version,
            "uptime_seconds": process.uptime_s,
            "user": "",  # nobody's business
            "working_dir": "",
            "pid": process.pid,
        },
        "gpus": gpus,
        "models": [],
        "counters": {},  # those are at /metrics
        "histograms": {},
        "config_store": status.store,
        "config_revision": status.revision,
        "config_others": dict(status.others),
        "config_digest": status.digest,
        "config_nacks": [],
        "config_nacks_left_out": len(status.nacks) + status.nacks_left_out,
    }
    room = STATUS_BYTES - len(orjson.dumps(content))
    nacks = _fitting(map(_nack, reversed(status.nacks)), room // 2)
    content["config_nacks"] = nacks
    content["config_nacks_left_out"] -= len(nacks)
    room -= _size(nacks)
    content["loaded_models"] = _fitting(status.loaded_models, room // 2)
    room -= _size(content["loaded_models"])
    busiest = sorted(process.models, key=lambda one: -int(one.get("queue_depth", 0)))
    content["models"] = _fitting((_model(one, process.device) for one in busiest), room)
    return orjson.dumps(content)


def read_status(content: str | bytes, *, url: str) -> WorkerStatus:
    """A message of ours or of v0.1.10, down to its minimal form. `url`: of the worker, its name if it says none.

    What is absent or null has v0.1.10's default. Raises ParseError for anything else than a status.
    """
    try:
        raw = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise ParseError(f"a status from {url} is not JSON: {fault}") from None
    if not isinstance(raw, dict):
        raise ParseError(f"a status from {url} is not an object")
    try:
        return _status(raw, url)
    except _Unfit as fault:
        raise ParseError(f"a status from {url} has a {fault}") from None


def _status(raw: Mapping[str, Any], url: str) -> WorkerStatus:
    gpus = _each(_objects, raw, "gpus")
    models = _each(_objects, raw, "models")
    queued = sum(_number(one, "queue_depth") for one in models)
    return WorkerStatus(
        name=_text(raw, "name") or url,
        url=url,
        bundle=_text(raw, "bundle") or "default",
        ready=_truth(raw, "ready"),
        store=_text(raw, "config_store") or None,
        revision=_number(raw, "config_revision"),
        others=_numbers(raw, "config_others"),
        by_hash=raw.get("config_revision") is None,
        digest=_text(raw, "config_digest"),
        bundle_config_hash=_text(raw, "bundle_config_hash"),
        nacks=tuple(
            Nack(_text(one, "model"), _text(one, "profile"), _text(one, "reason"))
            for one in _each(_objects, raw, "config_nacks")[:_NACKS_MOST]
        ),
        nacks_left_out=_number(raw, "config_nacks_left_out"),
        machine_profile=_text(raw, "machine_profile"),
        loaded_models=tuple(_each(_texts, raw, "loaded_models")),
        queue_depth=_number(raw, "queue_depth", queued),
        memory_used_bytes=sum(_number(one, "memory_used_bytes") for one in gpus),
        memory_total_bytes=sum(_number(one, "memory_total_bytes") for one in gpus),
        gpu_count=_number(raw, "gpu_count", 1),
    )


# -- writing


def _gpus(status: WorkerStatus, device: Device) -> Sequence[Mapping[str, Any]]:
    """v0.1.10's router adds the memory up over this list; a CPU's worker has an empty one, and one that has not looked
    for its device yet."""
    if device.name in ("cpu", "auto"):
        return []
    return [
        {
            "device": device.name,
            "name": device.name,
            "gpu_type": status.machine_profile[:_NAME_MOST],
            "memory_used_bytes": device.memory_used_bytes,
            "memory_total_bytes": device.memory_total_bytes,
        }
    ]


def _model(one: Mapping[str, Any], device: Device) -> Mapping[str, Any]:
    return {"device": device.name, "config": {}, "queue_pending_items": one.get("queue_depth", 0), **one}


def _nack(nack: Nack) -> Mapping[str, str]:
    return {"model": nack.model, "profile": nack.profile, "reason": nack.reason[:_REASON_MOST]}


def _fitting(values: Iterable[Value], room: int) -> list[Value]:
    """The first of them, up to one for which `room` bytes do not suffice."""
    kept: list[Value] = []
    for value in values:
        room -= len(orjson.dumps(value)) + 1  # and its comma
        if room < 0:
            break
        kept.append(value)
    return kept


def _size(values: Sequence[Any]) -> int:
    return len(orjson.dumps(values))


# -- reading


class _Unfit(Exception):
    """A field holds what it cannot."""


def _text(raw: Mapping[str, Any], key: str) -> str:
    found = raw.get(key)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > _TEXT_MOST:
        raise _Unfit(f"{key} that is no short text")
    return found


def _truth(raw: Mapping[str, Any], key: str) -> bool:
    found = raw.get(key)
    if found is not None and not isinstance(found, bool):
        raise _Unfit(f"{key} that is neither true nor false")
    return bool(found)


def _number(raw: Mapping[str, Any], key: str, absent: int = 0) -> int:
    found = raw.get(key)
    if found is None:
        return absent
    if type(found) is not int or found < 0:
        raise _Unfit(f"{key} that is no whole number from 0")
    return found


def _numbers(raw: Mapping[str, Any], key: str) -> Mapping[str, int]:
    found = raw.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict) or len(found) > _STORES_MOST or not all(map(_texts, found)):
        raise _Unfit(f"{key} that maps no names to numbers")
    return {name: _number(found, name) for name in found}


def _each(check: Callable[[Any], bool], raw: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = raw.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(map(check, found)):
        raise _Unfit(f"{key} that is no list of the right kind")
    return found


def _objects(value: Any) -> bool:
    return isinstance(value, dict)


def _texts(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_MOST
