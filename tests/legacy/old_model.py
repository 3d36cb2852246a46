"""What a worker of SIE v0.1.10 makes of a model's YAML: its strict schema, and the stub it falls back to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_FIELDS = {
    "sie_id",
    "hf_id",
    "hf_revision",
    "weights_path",
    "inputs",
    "tasks",
    "max_sequence_length",
    "profiles",
}
_PROFILE = {
    "extends",
    "adapter_path",
    "max_batch_tokens",
    "compute_precision",
    "adapter_options",
    "adaptive_batching",
}
_ADAPTIVE = {
    "target_p50_ms",
    "calibration_multiplier",
    "min_target_p50_ms",
    "max_target_p50_ms",
    "min_wait_ms",
    "max_wait_ms",
    "gain",
    "integral_gain",
}

Document = dict[str, Any]


def take_on(text: str) -> Document:
    """The model that a notification's `model_config` leads to. Raises ValueError: neither form of it passes."""
    document = yaml.safe_load(text)
    _require(isinstance(document, dict), "not a mapping")
    try:
        return strict(document)
    except ValueError:
        return strict(stub(document))


def stub(document: Mapping[str, Any]) -> Document:
    """No tasks, and of the profiles neither precision nor options."""
    kept = ("adapter_path", "max_batch_tokens", "extends")
    profiles = {name: {key: one[key] for key in kept if key in one} for name, one in document["profiles"].items()}
    sie_id = document["sie_id"]
    return {"sie_id": sie_id, "hf_id": document.get("hf_id") or sie_id, "tasks": {}, "profiles": profiles}


def strict(document: Mapping[str, Any]) -> Document:
    """The document itself, if the strict schema takes it. Raises ValueError."""
    _require(set(document) <= _FIELDS, f"unknown {set(document) - _FIELDS}")
    _require(isinstance(document.get("sie_id"), str), "no sie_id")
    _require(bool(document.get("hf_id") or document.get("weights_path")), "neither hf_id nor weights_path")
    tasks = document.get("tasks")
    _require(isinstance(tasks, dict) and set(tasks) <= {"encode", "score", "extract"}, "no tasks")
    encode = (tasks or {}).get("encode") or {}
    _require(set(encode) <= {"dense", "sparse", "multivector"}, "unknown task of encode")
    _require(all(set(one) == {"dim"} for one in encode.values() if one is not None), "a dim is missing")
    _require(set(document.get("inputs") or {}) <= {"text", "image", "audio", "video"}, "unknown input")
    profiles = document.get("profiles")
    _require(isinstance(profiles, dict) and "default" in profiles, "no default profile")
    for one in (profiles or {}).values():
        _check_profile(one, profiles or {})
    return dict(document)


def _check_profile(profile: Mapping[str, Any], profiles: Mapping[str, Any]) -> None:
    _require(set(profile) <= _PROFILE, f"unknown {set(profile) - _PROFILE}")
    parent = profile.get("extends")
    if parent is not None:
        _require(parent in profiles and not profiles[parent].get("extends"), "extends what it cannot")
    else:
        _require(profile.get("adapter_path") is not None, "no adapter_path")
        _require(profile.get("max_batch_tokens") is not None, "no max_batch_tokens")
    _require(profile.get("compute_precision") in (None, "float16", "bfloat16", "float32"), "unknown precision")
    options = profile.get("adapter_options") or {}
    _require(set(options) <= {"loadtime", "runtime"}, "unknown option")
    _require(all(isinstance(one, dict) for one in options.values()), "options that are no mappings")
    _require(set(profile.get("adaptive_batching") or {}) <= _ADAPTIVE, "unknown batching")


def _require(met: bool, fault: str) -> None:
    if not met:
        raise ValueError(fault)
