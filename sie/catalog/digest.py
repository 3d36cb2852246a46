"""Digests: what a bundle's catalog hashes to, in the form that SIE v0.1.10's workers show, and in our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sie.catalog.model import Model

_MODULUS = 2**256


def bundle_config_hash(models: Iterable[Model]) -> str:
    """The hash a v0.1.10 worker shows for these models, hex; "" if there are none.

    O(models), 10 us for each that was not hashed before and 1 us for the others: of a large bundle never on the way of
    a commit, and in a thread. Four keys of each profile count; nothing is inherited.
    """
    hashed = [model.hashed for model in sorted(models, key=lambda one: one.sie_id)]
    return hashlib.sha256(b"[%s]" % b",".join(hashed)).hexdigest() if hashed else ""


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
            number = model.number
            for one in bundles:
                self._sums[one] = (self._sums[one] + number) % _MODULUS
            self._counted[model_id] = (number, bundles)
        self._waiting.clear()
        return f"{self._sums[bundle_id]:064x}"
