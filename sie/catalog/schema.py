"""The schema of a model document: every field, strict, in two tempers: for files and for what comes through the API."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from sie.catalog.canonical import Json
from sie.catalog.faults import Faults, shown, under
from sie.catalog.ids import PROFILE_NAME_RULE, is_profile_name
from sie.catalog.model import FIELDS, PROFILE_FIELDS, Profile
from sie.catalog.rules import Rule, flag, free, kind, mapping, number, one_of, text, whole_number

# Far above any real one (131,072 tokens of context, 65,536 tokens a batch, vocabularies of 262,144).
_TOKENS_MOST = 1_048_576
_DIMS_MOST = 1_048_576

_dims = mapping({"dim": whole_number(_DIMS_MOST)}, required=("dim",))
_present = mapping({}, keep_empty=True)

_FILE_FIELDS: Mapping[str, Rule] = {
    "hf_id": text(r".+", "text", 1024),
    "hf_revision": text(r".+", "text"),
    "weights_path": text(r".+", "a path", 1024),
    "inputs": mapping({"audio": flag, "image": flag, "text": flag, "video": flag}),
    "tasks": mapping(
        {
            "encode": mapping({"dense": _dims, "multivector": _dims, "sparse": _dims}),
            "extract": _present,
            "score": _present,
        }
    ),
    "max_sequence_length": whole_number(_TOKENS_MOST),
}
_FILE_PROFILE: Mapping[str, Rule] = {
    "extends": text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a profile", 64),
    "adapter_path": text(r"[^:\s]+:[A-Za-z_]\w*", "`module:Class`"),
    "max_batch_tokens": whole_number(_TOKENS_MOST),
    "compute_precision": one_of("float16", "bfloat16", "float32"),
    "adapter_options": mapping({"loadtime": free, "runtime": free}),
    "adaptive_batching": mapping(
        dict.fromkeys(
            (
                "calibration_multiplier",
                "gain",
                "integral_gain",
                "max_target_p50_ms",
                "max_wait_ms",
                "min_target_p50_ms",
                "min_wait_ms",
                "target_p50_ms",
            ),
            number,
        )
    ),
}


@dataclass(frozen=True)
class Schema:
    """Reads what a document says beside its id."""

    fields: Mapping[str, Rule] = field(default_factory=lambda: _FILE_FIELDS)
    profile: Mapping[str, Rule] = field(default_factory=lambda: _FILE_PROFILE)

    def read(self, document: Mapping[str, Json], faults: Faults) -> tuple[Mapping[str, Json], Mapping[str, Profile]]:
        """The top-level fields and the profiles, normalised, in document order; every fault goes to `faults`."""
        rest = {key: value for key, value in document.items() if key not in ("sie_id", "profiles")}
        fields = cast("Mapping[str, Json]", mapping(self.fields, keep_empty=True)(rest, "", faults))
        return fields, self._profiles(document.get("profiles"), faults)

    def _profiles(self, value: Json, faults: Faults) -> Mapping[str, Profile]:
        if value is None or value == {}:
            faults.add("profiles", "is required: give at least one profile, such as `default`")
            return {}
        if not isinstance(value, Mapping):
            faults.add("profiles", f"must be a mapping of names to profiles, not {kind(value)}")
            return {}
        found = {}
        for name, content in value.items():
            path = under("profiles", name)
            if not is_profile_name(name):
                faults.add(path, PROFILE_NAME_RULE)
            normal = mapping(self.profile, keep_empty=True)(content, path, faults)
            if isinstance(normal, Mapping) and isinstance(content, Mapping):
                if content.get("adapter_path") is None and content.get("extends") is None:
                    faults.add(under(path, "adapter_path"), "is required unless the profile extends another")
                found[name] = Profile(name, normal)
        return found


FILE_SCHEMA = Schema()


def api_schema(weights_root: str | None) -> Schema:
    """The schema of the API: a config write is no way to read files or run code.

    `weights_root`: the directory a `weights_path` must lie under, judged by its text; None: none may be given.
    """

    def weights_path(value: Json, path: str, faults: Faults) -> Json:
        normal = _FILE_FIELDS["weights_path"](value, path, faults)
        if not isinstance(normal, str):
            return None
        if weights_root is None:
            faults.add(path, "may be given only where the server sets SIE_WEIGHTS_ROOT: use hf_id")
        elif not normal.isprintable() or not _lies_under(normal, weights_root):
            faults.add(path, f"must lie under SIE_WEIGHTS_ROOT, and {shown(normal)!r} does not")
        else:
            return normal
        return None

    def revision(value: Json, path: str, faults: Faults) -> Json:
        normal = text(r"[A-Za-z0-9._/-]+", "a branch, tag or commit", 128)(value, path, faults)
        if isinstance(normal, str) and ".." in normal:
            faults.add(path, "must be a branch, tag or commit: no '..'")
            return None
        return normal

    segment = r"(?!\.)[A-Za-z0-9._-]*[A-Za-z0-9_-]"
    name = r"[A-Za-z_][A-Za-z0-9_]*"
    fields = {
        **_FILE_FIELDS,
        "hf_id": text(rf"(?!.*\.\.){segment}/{segment}", "a hub id, `org/name`, and no path"),
        "hf_revision": revision,
        "weights_path": weights_path,
    }
    profile = {
        **_FILE_PROFILE,
        "adapter_path": text(rf"(?!.*\.py:){name}(?:\.{name})*:{name}", "`dotted.module:Class`, and no file"),
    }
    return Schema({one: fields[one] for one in FIELDS}, {one: profile[one] for one in PROFILE_FIELDS})


def _lies_under(path: str, root: str) -> bool:
    top = posixpath.normpath(root)
    whole = posixpath.normpath(posixpath.join(top, path))
    return whole == top or whole.startswith(top.rstrip("/") + "/")
