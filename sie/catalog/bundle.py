"""A bundle: the adapters that one worker image carries. Made when the image is built, never at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from sie.catalog.canonical import Json
from sie.catalog.document import FILE_LIMITS, read_document
from sie.catalog.faults import Faults, listed
from sie.catalog.ids import BUNDLE_ID_RULE, is_bundle_id
from sie.catalog.rules import Rule, flag, free, kind, mapping, text
from sie.errors import ConfigurationError, SieError


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """`adapters`: module names, as files list them. Of several bundles that fit, the lowest `priority` goes first."""

    bundle_id: str
    priority: int = 100
    adapters: tuple[str, ...]
    source: str = "filesystem"

    @property
    def document(self) -> Mapping[str, Json]:
        """What `GET /v1/configs/bundles/{id}` answers, as YAML."""
        return {
            "name": self.bundle_id,
            "priority": self.priority,
            "adapters": list(self.adapters),
            "source": self.source,
        }


def _priority(value: Json, path: str, faults: Faults) -> Json:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    faults.add(path, f"must be a whole number, not {kind(value)}")
    return None


def _modules(value: Json, path: str, faults: Faults) -> Json:
    module = text(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", "a dotted module name, without its class")
    if not isinstance(value, list) or not value:
        faults.add(path, "must be a list of module names")
        return None
    return [module(one, f"{path}[{index}]", faults) for index, one in enumerate(value)]


_SCHEMA: Mapping[str, Rule] = {
    "name": text(r".+", "text"),
    "priority": _priority,
    "adapters": _modules,
    # For the building of images; read here only as far as being there.
    "default": flag,
    "deps": free,
}


def read_bundle(content: bytes, stem: str) -> Bundle:
    """A bundle file; `stem` is its name without suffix, and the bundle's unless the file gives one.

    Raises ConfigurationError, naming the file and everything wrong with it.
    """
    try:
        document = read_document(content, limits=FILE_LIMITS, cure_newlines=False)
    except SieError as fault:
        raise ConfigurationError(f"bundle {stem}: {fault.message}") from None
    faults = Faults(document.faults)
    found = mapping(_SCHEMA, required=("adapters",), keep_empty=True)(document.value, "", faults)
    read = cast("Mapping[str, Json]", found)
    bundle_id = str(read.get("name", stem))
    if not is_bundle_id(bundle_id):
        faults.add("name", BUNDLE_ID_RULE)
    if faults:
        raise ConfigurationError(f"bundle {stem}: {listed(faults.details())}")
    modules = dict.fromkeys(cast("list[str]", read["adapters"]))
    return Bundle(bundle_id=bundle_id, priority=cast("int", read.get("priority", 100)), adapters=tuple(modules))
