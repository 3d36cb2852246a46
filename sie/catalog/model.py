# Rule: values only. Reading and judging documents is change.py's and catalog.py's work.
"""A model and its profiles, as every part of the system passes them around."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, cast

from sie.catalog.canonical import Json, canonical

Source = Literal["filesystem", "api"]

# Top-level fields besides `sie_id` and `profiles`, in the order they are written out.
FIELDS = ("hf_id", "hf_revision", "weights_path", "inputs", "tasks", "max_sequence_length")

# What a profile may hold, in the order it is written out.
PROFILE_FIELDS = (
    "extends",
    "adapter_path",
    "max_batch_tokens",
    "compute_precision",
    "adapter_options",
    "adaptive_batching",
)


_NONE: Mapping[str, Any] = MappingProxyType({})


def _none() -> Mapping[str, Any]:
    return _NONE  # one for all: most models have three of them


@dataclass(frozen=True)
class Profile:
    """One way to run a model. `content` is normalised: what is null, empty or absent is left out alike.

    Its keys are of PROFILE_FIELDS; `adapter_options` is {loadtime?, runtime?}, neither empty.
    """

    name: str
    content: Mapping[str, Json]

    @cached_property
    def canonical(self) -> bytes:
        """What equality of two profiles is judged on."""
        return canonical(self.content)

    @property
    def extends(self) -> str | None:
        return cast("str | None", self.content.get("extends"))

    @property
    def adapter_path(self) -> str | None:
        return cast("str | None", self.content.get("adapter_path"))

    @property
    def max_batch_tokens(self) -> int | None:
        return cast("int | None", self.content.get("max_batch_tokens"))

    @property
    def compute_precision(self) -> str | None:
        return cast("str | None", self.content.get("compute_precision"))

    @property
    def loadtime(self) -> Mapping[str, Json]:
        return self._options("loadtime")

    @property
    def runtime(self) -> Mapping[str, Json]:
        return self._options("runtime")

    def _options(self, kind: str) -> Mapping[str, Json]:
        options = cast("Mapping[str, Mapping[str, Json]]", self.content.get("adapter_options", {}))
        return options.get(kind, {})

    @property
    def adaptive_batching(self) -> Mapping[str, Json]:
        return cast("Mapping[str, Json]", self.content.get("adaptive_batching", {}))


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A profile with its parent's values filled in: what runs."""

    name: str
    adapter_path: str
    max_batch_tokens: int | None
    compute_precision: str | None
    loadtime: Mapping[str, Json]
    runtime: Mapping[str, Json]
    adaptive_batching: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a client names. Frozen: an append makes a new one that shares the profiles.

    `revision`: of the newest entry that touched it, 0 for a file nobody appended to.
    `created`: profile name to the revision of the entry that created it; a filesystem profile has 0.

    Those are numbers of the process's own store. Where routers share none, `stores` names the store of each profile
    that came from another, `revisions` the newest entry in each store that touched the model, and `disputed` what two
    of them say differently: its path, and their ids, the served one first.
    """

    sie_id: str
    fields: Mapping[str, Json]
    profiles: Mapping[str, Profile]
    source: Source
    revision: int = 0
    created: Mapping[str, int]
    stores: Mapping[str, str] = field(default_factory=_none)
    revisions: Mapping[str, int] = field(default_factory=_none)
    disputed: Mapping[str, tuple[str, ...]] = field(default_factory=_none)

    @property
    def hub_id(self) -> str:
        """What the Hugging Face hub calls it."""
        return cast("str", self.fields.get("hf_id", self.sie_id))

    # Not kept: a catalog of 100,000 models would hold each of them twice more, for what is asked for once.
    @property
    def document(self) -> Mapping[str, Json]:
        """The whole merged model as one JSON value; its YAML is what `GET …/models/{id}` answers."""
        known = {name: self.fields[name] for name in FIELDS if name in self.fields}
        profiles = {
            name: {key: one.content[key] for key in PROFILE_FIELDS if key in one.content}
            for name, one in self.profiles.items()
        }
        return {"sie_id": self.sie_id, **known, "profiles": profiles}

    @property
    def canonical(self) -> bytes:
        return canonical(self.document)

    @cached_property
    def number(self) -> int:
        """What it counts in our own digest of its bundles: SHA-256 over `canonical`."""
        return int.from_bytes(hashlib.sha256(self.canonical).digest(), "big")

    # Kept: a worker hashes its whole bundle after each change of one model.
    @cached_property
    def hashed(self) -> bytes:
        """What SIE v0.1.10 hashes of it, and as it writes that."""
        profiles = [{"name": name, "config": _hashed(self.profiles[name])} for name in sorted(self.profiles)]
        text = json.dumps({"sie_id": self.sie_id, "profiles": profiles}, sort_keys=True, separators=(",", ":"))
        return text.replace("\x7f", "\\u007f").encode()

    def adapter_path(self, name: str) -> str:
        """The adapter of a profile, its own or its parent's. Raises KeyError for an unknown name."""
        child = self.profiles[name]
        parent = self.profiles[child.extends] if child.extends is not None else child
        found = child.adapter_path or parent.adapter_path
        assert found is not None, f"{self.sie_id}:{name} was accepted without an adapter"
        return found

    def resolve(self, name: str) -> Resolved:
        """The profile with what it extends filled in.

        The child wins where it says something; `loadtime` and `runtime` are each replaced whole by a non-empty one;
        `adaptive_batching` is merged field by field. Raises KeyError for an unknown name.
        """
        child = self.profiles[name]
        parent = self.profiles[child.extends] if child.extends is not None else child
        return Resolved(
            name=name,
            adapter_path=self.adapter_path(name),
            max_batch_tokens=child.max_batch_tokens or parent.max_batch_tokens,
            compute_precision=child.compute_precision or parent.compute_precision,
            loadtime=child.loadtime or parent.loadtime,
            runtime=child.runtime or parent.runtime,
            adaptive_batching={**parent.adaptive_batching, **child.adaptive_batching},
        )


def _hashed(profile: Profile) -> Mapping[str, Any]:
    options = {"loadtime": profile.loadtime, "runtime": profile.runtime}
    return {
        "adapter_path": profile.adapter_path,
        "max_batch_tokens": profile.max_batch_tokens,
        "compute_precision": profile.compute_precision,
        "adapter_options": options if any(options.values()) else None,
    }
