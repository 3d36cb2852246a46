"""`bundle_config_hash`, computed from outside: a second, independent implementation, in SIE v0.1.10's worker form.

SHA-256 of a JSON array with an object for each model, `{"profiles": [{"config", "name"}], "sie_id"}`, by sie_id.
Four keys of each profile count; what is not there is null and nothing is inherited. Options are written with both
`loadtime` and `runtime`, and as null where both are empty. Keys are sorted at every depth, there are no spaces, and
what is not ASCII, and 0x7f, is written as \\uXXXX. vectors/bundle_config_hash.yaml has literal examples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spec.answer import Answer

_PLAIN = ("adapter_path", "max_batch_tokens", "compute_precision")


def hashed_text(models: Iterable[Mapping[str, Any]]) -> str:
    """The text that is hashed, of model documents as YAML or JSON has them."""
    listed = [
        {
            "sie_id": model["sie_id"],
            "profiles": [
                {"name": name, "config": _config(model["profiles"][name])} for name in sorted(model["profiles"])
            ],
        }
        for model in sorted(models, key=lambda one: str(one["sie_id"]))
    ]
    return json.dumps(listed, sort_keys=True, separators=(",", ":")).replace("\x7f", "\\u007f")


def bundle_config_hash(models: Iterable[Mapping[str, Any]]) -> str:
    """64 hexadecimal digits; nothing for no models."""
    known = list(models)
    return hashlib.sha256(hashed_text(known).encode()).hexdigest() if known else ""


def hash_of_bundle(bundle: str, get: Callable[[str], Answer]) -> str:
    """The hash of a bundle of the target. `get`: asks for a path and returns an answer of status 200."""
    adapters = set(get(f"/v1/configs/bundles/{bundle}").yaml["adapters"])
    ids = [one["model_id"] for one in get("/v1/configs/models").json["models"]]
    models = [get(f"/v1/configs/models/{one}").yaml for one in ids]
    return bundle_config_hash(model for model in models if adapters & set(_modules(model)))


def _config(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    given = profile.get("adapter_options") or {}
    options = {"loadtime": {}, "runtime": {}, **{key: value for key, value in given.items() if value is not None}}
    return {
        **{key: profile.get(key) for key in _PLAIN},
        "adapter_options": options if any(options.values()) else None,
    }


def _modules(model: Mapping[str, Any]) -> Iterable[str]:
    for profile in model["profiles"].values():
        if path := profile.get("adapter_path"):
            yield path.partition(":")[0]
