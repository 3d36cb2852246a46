"""The YAML reader: any text at all is one mapping or refused, and what is taken is what PyYAML itself makes of it.

Where the two differ on purpose: a key said twice is refused here (PyYAML keeps the last); of JSON, numbers are those of
JSON (`1e3` is a number, which YAML 1.1 takes for text); `=` and a `<<` that is not a key are text (PyYAML has no value
for them); `"<<"` in quotes is a key like any other; an anchor may be given again, as YAML has it (PyYAML refuses that).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sie.catalog.canonical import canonical
from sie.catalog.document import Document, DocumentLimits, read_document, write_document
from sie.errors import ParseError
from tests.fuzz.strategies import ODD, texts, values

LIMITS = DocumentLimits(body_bytes=128 * 1024, yaml_events=10_000, yaml_depth=64)

# What YAML is made of, so that most texts made of it are nearly well-formed.
PIECES = [
    *("a", "b", "key", "1", "-1", "1.5", "true", "null", "~", "yes", "0x1F", "1_000", "1:30", "1e3", "12e03", ".5"),
    *(
        ": ",
        ":",
        "- ",
        "? ",
        "\n",
        "\n  ",
        "\n    ",
        " ",
        "\t",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "|",
        ">",
        "|-",
        ">+",
    ),
    *("&x ", "*x", "&y ", "*y", "<<: ", "<<", "=", "!", "!!str ", "!!int ", "!!set ", "!!map ", "!a ", "!<b> "),
    *("---", "\n---\n", "...", "%YAML 1.1\n", "%TAG ! tag:x\n", "# said\n", "\\", '"\\n"', "''", '""', "\ufeff", "é"),
    *("2024-01-01", "!!binary aGk=", "!!timestamp ", "@", "`", "%", "\x00", "\x85", "\u2028", "\r\n", "\r"),
]
nearly_yaml = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
lines = st.lists(
    st.tuples(
        st.sampled_from(["", "  ", "    ", "- ", "  - ", "? "]),
        st.sampled_from(["a", "b", "c", "'d'", '"e"', "&x f", "<<", "? g", "1", "*x"]),
        st.sampled_from([": ", ":", ":  &x ", ": !!str ", ": |\n      ", ": >-\n    ", ": *x", ": [", ": {"]),
        st.sampled_from(["", "1", "x y", "[1, 2]", "{a: 1, b: *x}", "*x", "'q'", '"\\u00e9"', "]", "}", "2001-01-01"]),
    ).map("".join),
    max_size=7,
).map("\n".join)
any_text = nearly_yaml | lines | st.text(max_size=40)


def read(text: str) -> Document:
    return read_document(text.encode("utf-8", "surrogatepass"), limits=LIMITS)


def read_or_why(text: str) -> Document | str:
    """The document, or why it is refused."""
    try:
        return read(text)
    except ParseError as refused:
        return refused.message


@given(any_text)
@example("a: &x [*x]")
@example("&x a: *x")
@example("? &x a\n: *x")
@example("a: {<<: [{b: 1}, {b: 2, c: 3}], c: 4}")
def test_any_text_is_a_document_or_refused_and_what_is_taken_is_what_pyyaml_reads(text: str) -> None:
    found = read_or_why(text)
    if isinstance(found, str):
        return
    # What it holds is JSON, whatever was wrong beside it, and it is the same when written and read again.
    again = read(write_document(found.value))
    assert (again.faults, canonical(again.value)) == ([], canonical(found.value))
    assert canonical(json.loads(json.dumps(found.value))) == canonical(found.value)
    if found.faults or is_json(text) or holds_what_pyyaml_cannot_read(text):
        return
    assert canonical(as_pyyaml_reads(text)) == canonical(found.value)


def as_pyyaml_reads(text: str) -> Any:
    return yaml.load(text.encode(), Loader=yaml.CSafeLoader)


def is_json(text: str) -> bool:
    with suppress(ValueError):
        json.loads(text.removeprefix("\ufeff"))
        return True
    return False


def holds_what_pyyaml_cannot_read(text: str) -> bool:
    """`=` or `<<` where it is text to us, as PyYAML has no constructor for those tags; an anchor given again."""
    try:
        as_pyyaml_reads(text)
    except yaml.constructor.ConstructorError as fault:
        return "tag:yaml.org,2002:value" in str(fault) or "tag:yaml.org,2002:merge" in str(fault)
    except yaml.composer.ComposerError as fault:
        return "duplicate anchor" in str(fault)
    return False


@given(any_text)
def test_what_pyyaml_reads_as_json_is_read_here_or_refused_for_a_stated_reason(text: str) -> None:
    """The other way round: no document that a stranger's reader takes for JSON is refused without need."""
    try:
        value = as_pyyaml_reads(text)
        spelled = canonical(value)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return  # PyYAML's constructors raise what Python raises
    assume(isinstance(value, dict) and all(isinstance(one, str) for one in keys_of(value)))
    found = read_or_why(text)
    if isinstance(found, str):
        assert any(one in found for one in ("twice", "more than", "deep", "alias", "'<<'")), found
    elif not found.faults and not is_json(text):
        assert canonical(found.value) == spelled


def keys_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *(key for one in value.values() for key in keys_of(one))]
    return [key for one in value for key in keys_of(one)] if isinstance(value, list) else []


@given(st.dictionaries(texts, values, max_size=4), st.data())
def test_a_written_document_with_one_character_changed_is_read_or_refused(value: Any, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([write_document(value), json.dumps(value)]))
    place = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from([*PIECES, *ODD]))
    with suppress(ParseError):
        found = read(text[:place] + piece + text[place + data.draw(st.integers(0, 2)) :])
        assert canonical(read(write_document(found.value)).value) == canonical(found.value)


@pytest.mark.parametrize("wide", [1, 7, 100])
@given(data=st.data())
def test_aliases_cost_what_they_repeat_however_they_are_nested(wide: int, data: st.DataObject) -> None:
    """A small text that stands for a large value is refused before the value is built, at the limit's own cost."""
    depth = data.draw(st.integers(1, 12))
    levels = [f"k{level}: &x{level} [{', '.join([f'*x{level - 1}'] * wide)}]" for level in range(1, depth)]
    text = "\n".join(["k0: &x0 [v]", *levels])
    size = sum(wide**level for level in range(depth))  # leaves, each two events of a list and one of a text
    found = read_or_why(text)
    if isinstance(found, str):
        assert "more than" in found or "deep" in found
        assert size * 3 + depth > LIMITS.yaml_events / 2
    else:
        assert len(str(found.value)) < 40 * LIMITS.yaml_events
