"""What the properties of this folder are tried with: model documents in many spellings, and the logs they make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import settings
from hypothesis import strategies as st

from sie.catalog.adapters import LOADTIME_VALUES
from sie.catalog.catalog import Catalog
from sie.catalog.change import read_change
from sie.catalog.document import write_document
from sie.catalog.entry import Entry
from sie.catalog.judge import draft, judge
from sie.errors import SieError
from tests.catalog.made import DENSE, ELSEWHERE, LIMITS, SPARSE, catalog

ODD = [
    *("", " ", "~", "null", "yes", "1e3", "0o17", "010", "1:30", "2024-01-01", "=", "<<", ".inf", "- a", "a: b", "#"),
    *("\t", "\n a\n", "\r", "\x00", "\x07", "\x7f", "\x85", "\u2028", "\ufeff", "é", "😀", "\U0010ffff", "'\"", "\\"),
]
texts = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = [0, -0.0, 1, 1.0, -1, 0.1, 1e22, 5e-324, 1.7976931348623157e308, 2**53, 2**63 - 1, -(2**63)]
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from(NUMBERS)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(texts, one, max_size=3), max_leaves=8
)
options = st.dictionaries(texts, values, max_size=3)

IDS = ["org/a", "org/b", "org/shipped", "Solo", "a/b/c.d_e-f"]
FILE: dict[str, Any] = {
    "sie_id": "org/shipped",
    "hf_id": "org/shipped",
    "profiles": {"default": {"adapter_path": DENSE}, "sparse": {"adapter_path": SPARSE}},
}
_names = st.sampled_from(["default", "a", "b", "p.1", "X-9", "_".join(["x"] * 30)])
_whole = st.integers(1, 1_048_576)
_dims = st.fixed_dictionaries({"dim": _whole})
_flags = st.dictionaries(st.sampled_from(["audio", "image", "text", "video"]), st.booleans())
_loadtime = st.fixed_dictionaries({}, optional={name: st.sampled_from(one) for name, one in LOADTIME_VALUES.items()})
_tuning = st.dictionaries(st.sampled_from(["gain", "max_wait_ms", "min_wait_ms"]), st.sampled_from(NUMBERS))
_fields = st.fixed_dictionaries(
    {},
    optional={
        "hf_id": st.sampled_from(["org/one", "o.r-g/two_2"]),
        "hf_revision": st.sampled_from(["main", "v1.0/x"]),
        "inputs": _flags,
        "max_sequence_length": _whole,
        "tasks": st.fixed_dictionaries(
            {},
            optional={
                "encode": st.dictionaries(st.sampled_from(["dense", "multivector", "sparse"]), _dims),
                "extract": st.just({}),
                "score": st.just({}),
            },
        ),
    },
)


@st.composite
def _profiles(draw: st.DrawFn, name: str) -> dict[str, Any]:
    optional: dict[str, st.SearchStrategy[Any]] = {
        "max_batch_tokens": _whole,
        "compute_precision": st.sampled_from(["float16", "bfloat16", "float32"]),
        "adapter_options": st.fixed_dictionaries({}, optional={"loadtime": _loadtime, "runtime": options}),
        "adaptive_batching": _tuning,
    }
    adapter = {"adapter_path": st.sampled_from([DENSE, SPARSE, ELSEWHERE])}
    extends = {"extends": st.just("default")}
    if name == "default" or draw(st.booleans()):
        return draw(st.fixed_dictionaries(adapter, optional=optional))
    return draw(st.fixed_dictionaries(extends, optional={**adapter, **optional}))


@st.composite
def documents(draw: st.DrawFn, *, ids: st.SearchStrategy[str] | None = None) -> dict[str, Any]:
    """What may be posted, of a model that may exist: without `default` now and then."""
    names = draw(st.lists(_names, min_size=1, max_size=3, unique=True))
    return {
        "sie_id": draw(ids if ids is not None else st.sampled_from(IDS)),
        **draw(_fields),
        "profiles": {name: draw(_profiles(name)) for name in names},
    }


@st.composite
def complete_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Those that a new model can begin with."""
    document = draw(documents())
    return {**document, "profiles": {**document["profiles"], "default": {"adapter_path": draw(st.just(DENSE))}}}


# What a null may stand in place of without saying anything.
_ABSENT: Mapping[str, tuple[str, ...]] = {
    "": ("hf_revision", "weights_path", "inputs", "tasks", "max_sequence_length"),
    "profile": ("max_batch_tokens", "compute_precision", "adapter_options", "adaptive_batching"),
}


@st.composite
def spellings(draw: st.DrawFn, document: Mapping[str, Any]) -> bytes:
    """The same document as somebody else would write it: keys in any order, nulls for what is absent, YAML or JSON.

    Only the order of profiles stays, which is part of what is said.
    """
    said = _with_nulls(draw, document, "")
    said["profiles"] = {
        name: _shuffled(draw, _with_nulls(draw, one, "profile")) for name, one in said["profiles"].items()
    }
    said = {name: said[name] for name in draw(st.permutations(list(said)))}
    match draw(st.sampled_from(["block", "flow", "json", "indented", "marked"])):
        case "block":
            return write_document(said).encode()
        case "flow":
            unicode = draw(st.booleans())
            flow = yaml.dump(
                said, Dumper=yaml.CSafeDumper, default_flow_style=True, allow_unicode=unicode, sort_keys=False
            )
            return f"# a comment\n{flow}".encode()
        case "json":
            return json.dumps(said, separators=(",", ":")).encode()
        case "indented":
            return json.dumps(said, indent="\t", ensure_ascii=False).encode()
    return b"\xef\xbb\xbf---\n" + write_document(said).encode() + b"...\n"


def _with_nulls(draw: st.DrawFn, said: Mapping[str, Any], kind: str) -> dict[str, Any]:
    absent = [name for name in _ABSENT[kind] if name not in said]
    return {**said, **dict.fromkeys(draw(st.lists(st.sampled_from(absent), unique=True)) if absent else [])}


def _shuffled(draw: st.DrawFn, value: Any) -> Any:
    """Mappings below a profile's name say the same in any order of their keys."""
    if isinstance(value, dict):
        return {key: _shuffled(draw, value[key]) for key in draw(st.permutations(list(value)))}
    return [_shuffled(draw, one) for one in value] if isinstance(value, list) else value


# A whole log takes ten times as long to make as a value.
fewer = settings(max_examples=settings().max_examples // 4)


@dataclass(frozen=True)
class Logged:
    """A log as a router writes it, and the catalog it had then."""

    entries: list[Entry]
    catalog: Catalog


def post(to: Catalog, document: Mapping[str, Any], *, store: str = "s", key: str | None = None) -> Entry | None:
    """What a writer makes of a document; None if it brings nothing. Raises SieError."""
    change = read_change(write_document(document).encode(), LIMITS)
    verdict = judge(to, change, LIMITS)
    if not verdict.changes:
        return None
    written = draft(
        verdict,
        write_id=f"{store}{to.head + 1}",
        time="2026-01-01T00:00:00+00:00",
        router_id="r",
        body_hash=change.body_hash,
        idempotency_key=key,
    )
    entry = written.placed(to.head + 1)
    to.advance(entry)
    return entry


def fitting(document: Mapping[str, Any], to: Catalog) -> dict[str, Any]:
    """The same as something new: without what is there, and with the `default` that a new model needs."""
    known = to.find(document["sie_id"])
    profiles = dict(document["profiles"])
    if known is None:
        return {**document, "profiles": {"default": {"adapter_path": DENSE}, **profiles}}
    fields = {name: value for name, value in document.items() if name not in known.fields}
    news = {name: one for name, one in profiles.items() if name not in known.profiles}
    return {**fields, "profiles": news or {"default": known.profiles["default"].content}}


@st.composite
def logs(draw: st.DrawFn, *, store: str = "s") -> Logged:
    """Of some posts over a catalog of one file, refused ones among them."""
    made = catalog(FILE)
    made.own = store
    entries = []
    for document in draw(st.lists(documents(ids=st.sampled_from(IDS[:3])), min_size=1, max_size=4)):
        try:
            changed = document if draw(st.integers(0, 9)) == 0 else fitting(document, made)
            entry = post(made, changed, store=store, key=draw(st.none() | st.sampled_from(["k1", "k2"])))
        except SieError:
            continue
        if entry is not None:
            entries.append(entry)
    return Logged(entries, made)
