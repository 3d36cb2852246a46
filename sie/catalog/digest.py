"""Digests: what a bundle's catalog hashes to, in the form that SIE v0.1.10's workers show, and in our own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sie.catalog.model import Model, Profile

_MODULUS = 2**256


def bundle_config_hash(models: Iterable[Model]) -> str:
    """The hash a v0.1.10 worker shows for these models, hex; "" if there are none.

    O(models): never on the way of a commit, and in a thread. Four keys of each profile count; nothing is inherited.
    """
    hashed = [_hashed(model) for model in sorted(models, key=lambda one: one.sie_id)]
    if not hashed:
        return ""
    # One by one, for no other thread runs inside one `dumps`.
    texts = (json.dumps(one, sort_keys=True, separators=(",", ":")).replace("\x7f", "\\u007f") for one in hashed)
    return hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()


def _hashed(model: Model) -> Mapping[str, Any]:
    profiles = [{"name": name, "config": _config(model.profiles[name])} for name in sorted(model.profiles)]
    return {"sie_id": model.sie_id, "profiles": profiles}


def _config(profile: Profile) -> Mapping[str, Any]:
    options = {"loadtime": profile.loadtime, "runtime": profile.runtime}
    return {
        "adapter_path": profile.adapter_path,
        "max_batch_tokens": profile.max_batch_tokens,
        "compute_precision": profile.compute_precision,
        "adapter_options": options if any(options.values()) else None,
    }


class BundleSums:
    """Our own digest of each bundle: the sum modulo 2**256 of SHA-256 over each full canonical model in it.

    A sum can be changed in place, whatever the order. A changed model is hashed when a digest is next asked for, so
    that reading a long log costs no hashes and many changes to one model cost one.
    """

    def __init__(self, bundle_ids: Iterable[str]) -> None:
        self._sums = dict.fromkeys(bundle_ids, 0)
        self._counted: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._waiting: dict[str, tuple[Model, tuple[str, ...]]] = {}

    def put(self, model: Model, bundles: tuple[str, ...]) -> None:
        """The model as it is now, and the bundles it is in now."""
        self._waiting[model.sie_id] = (model, bundles)

    def digest(self, bundle_id: str) -> str:
        """64 hex characters. Raises KeyError for an unknown bundle."""
        for model_id, (model, bundles) in self._waiting.items():
            number, counted_in = self._counted.get(model_id, (0, ()))
            for one in counted_in:
                self._sums[one] = (self._sums[one] - number) % _MODULUS
            number = int.from_bytes(hashlib.sha256(model.canonical).digest(), "big")
            for one in bundles:
                self._sums[one] = (self._sums[one] + number) % _MODULUS
            self._counted[model_id] = (number, bundles)
        self._waiting.clear()
        return f"{self._sums[bundle_id]:064x}"
