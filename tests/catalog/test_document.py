"""Documents: what is read, what is refused, and that what was written is read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sie.catalog.canonical import canonical
from sie.catalog.document import Document, DocumentLimits, read_document, write_document
from sie.errors import ParseError, PayloadTooLarge
from tests.catalog.made import WIDE

LIMITS = DocumentLimits(body_bytes=128 * 1024, yaml_events=10_000, yaml_depth=64)


def read(text: str | bytes) -> Document:
    return read_document(text if isinstance(text, bytes) else text.encode(), limits=LIMITS)


def refused(text: str | bytes) -> str:
    with pytest.raises(ParseError) as raised:
        read(text)
    return raised.value.message


ODD = [
    "1e3",
    "yes",
    "2024-01-01",
    "null",
    "=",
    "<<",
    "~",
    "",
    " ",
    "0o17",
    "1:30",
    "\x00\x07\x7f",
    "é😀\u2028\ufeff",
    "a: b",
]
TEXT = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"])))
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXT,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT, inner, max_size=5)),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON, max_size=5))
@example({one: one for one in ODD})
@example({"x" * 200: "word " * 100, "\n a": "\n a\n\n", "tab": "\tx\n\ty "})
def test_what_is_written_is_read_back_identically_as_yaml_and_as_json(value: dict[str, Any]) -> None:
    as_yaml = write_document(value)
    for text in (as_yaml, json.dumps(value), json.dumps(value, indent="\t", ensure_ascii=False)):
        found = read_document(text.encode(), limits=WIDE)
        assert found.faults == []
        assert canonical(found.value) == canonical(value)
    assert list(read_document(as_yaml.encode(), limits=WIDE).value) == list(value)


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_pyyaml_reads_what_is_written_alike(value: dict[str, Any]) -> None:
    assert canonical(yaml.safe_load(write_document(value))) == canonical(value)


def test_numbers_of_yaml_1_2_are_quoted_so_that_its_readers_see_text_too() -> None:
    assert write_document({"a": "1e3", "b": "0o17", "c": "x"}) == "a: '1e3'\nb: '0o17'\nc: x\n"


def test_scalars_are_what_yaml_1_1_says() -> None:
    text = "a: yes\nb: 0x1F\nc: 1_000\nd: ~\ne: 'yes'\nf: 1:30\ng: 1e3\nh: 1.0e+3\ni: !!str 12\nj: =\nk: <<\nl: 010"
    expected = {"a": True, "b": 31, "c": 1000, "d": None, "e": "yes", "f": 90, "g": "1e3", "h": 1000.0, "i": "12"}
    assert read(text).value == {**expected, "j": "=", "k": "<<", "l": 8}


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {x: 9, z: 4}], '<<': text}\nd: *a"
    value = read(text).value
    assert value["b"] == {"x": 1, "y": 3}
    assert value["c"] == {"x": 1, "y": 2, "z": 4, "<<": "text"}
    assert value["d"] == {"x": 1, "y": 2}


def test_a_byte_order_mark_of_utf8_is_taken() -> None:
    assert read(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n\n",
        b"# only a comment\n",
        b"---\n",
        b"- a\n",
        b"text",
        b"a: 1\n---\nb: 2\n",
        b"a: [1\n",
        b"a: \x00\n",
        b"a: \x1b\n",
        b"\xff\xfe",
        "a: 1".encode("utf-16"),
        b'a: "\\ud800"',
        b'{"a": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": 1',
        b"a: &b {c: *b}",
        b"a: *b",
        b"a: {<<: 3}",
        b"b: &b {}\na: {<<: *b, <<: *b}",
        b"%YAML 9.0\n---\na: 1",
        b"%TAG !a! b\n" * 10_000,
        b"\xed\xa0\x80: 1",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_anything_but_one_well_formed_mapping_is_refused(body: bytes) -> None:
    assert refused(body)


@pytest.mark.parametrize("body", ["a: 1\nb:\n  c: 1\n  c: 2\n", '{"a": 1, "b": {"c": 1, "c": 2}}'])
def test_a_key_said_twice_is_refused_by_name(body: str) -> None:
    assert "'c'" in refused(body)


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + level, 98 + level, b",".join([b"*%c" % (97 + level)] * 9)) for level in range(9)
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BOMB, "events"),
        (b'a: &a "' + b"x" * 60_000 + b'"\nb: [' + b",".join([b"*a"] * 3000) + b"]", "characters"),
        (b"%TAG ! tag:" + b"x" * 100_000 + b"\n---\na: [" + b"!x a," * 100 + b"]", "characters"),
        (b"a: &a {b: 1}\nc: [" + b"{<<: *a}," * 3000 + b"]", "events"),
        (b"".join(b"k%d: v\n" % number for number in range(5100)), "events"),
        (b'{"a": [' + b",".join([b"1"] * 10_001) + b"]}", "events"),
        (b"[" * 128 * 1024, "deep"),
        (b"[" * 1000 + b"]" * 1000, "deep"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "deep"),
        (b"- " * 1000, "deep"),
        (b"? " * 1000, "deep"),
        (b"a: &a " + b"[" * 40 + b"]" * 40 + b"\nb: " + b"[" * 40 + b"*a" + b"]" * 40, "deep"),
    ],
)
def test_limits_count_what_aliases_repeat(body: bytes, said: str) -> None:
    assert said in refused(body)


def test_a_body_above_its_limit_is_not_parsed() -> None:
    with pytest.raises(PayloadTooLarge) as raised:
        read(b"x" * (128 * 1024 + 1))
    assert raised.value.fields["limit_bytes"] == 128 * 1024


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a: {b: 2024-01-01}", "a.b"),
        ("a: [1, 2001-12-14t21:59:43.10-05:00]", "a[1]"),
        ("a: !!binary aGk=", "a"),
        ("a: {b: [{c: !!set {x}}]}", "a.b[0].c"),
        ("a: !!omap [b: 1]", "a"),
        ("a: !custom x", "a"),
        ("a: .nan", "a"),
        ("a: -.inf", "a"),
        ("a: 18446744073709551616", "a"),
        ("a: -9223372036854775809", "a"),
        (f"a: {'9' * 5000}", "a"),
        (f"a: {'1:' * 5000}1", "a"),
        ("a: !!int abc", "a"),
        ("a: !!bool maybe", "a"),
        ("a: {1: x}", "a.1"),
        ("a: {null: x}", "a.null"),
        ("a: {true: x}", "a.true"),
        ("a: {[b]: x}", "a.a mapping or list"),
        ('{"a": {"b": NaN}}', "a.b"),
        ('{"a": [-Infinity]}', "a[0]"),
        ('{"a": 1e999}', "a"),
        ('{"a": 9223372036854775808}', "a"),
        (f'{{"a": {"9" * 5000}}}', "a"),
    ],
)
def test_what_json_cannot_hold_is_a_fault_with_its_place(text: str, path: str) -> None:
    found = read(text)
    assert [one["path"] for one in found.faults] == [path]
    assert found.faults[0]["message"]


def test_a_date_comes_with_its_cure() -> None:
    assert '"2024-01-01"' in read("a: 2024-01-01").faults[0]["message"]


def test_thousands_of_faults_are_counted_rather_than_listed() -> None:
    faults = read("".join(f"{number}: x\n" for number in range(4000))).faults
    assert len(faults) == 101
    assert faults[-1]["message"] == "and 3900 more"


@pytest.mark.parametrize(
    "body",
    [
        "sie_id: a/bprofiles:  default:    adapter_path: x.y:Z",
        "# my modelsie_id: a/bprofiles:  default: {}",
        "- sie_id: a- b: c",
    ],
)
def test_a_body_that_lost_its_line_breaks_is_told_how_to_keep_them(body: str) -> None:
    assert "--data-binary" in refused(body)
    with pytest.raises(ParseError) as raised:
        read_document(body.encode(), limits=LIMITS, cure_newlines=False)
    assert "--data-binary" not in raised.value.message


def test_a_comment_that_swallowed_the_rest_of_the_line_gets_the_hint_too() -> None:
    assert "--data-binary" in read("sie_id: a/b # my modelprofiles:  default:").hint
    assert read("sie_id: a/b").hint == ""
    assert read('{"a": 1, "b": {"c": 2}}').hint == ""
    assert "--data-binary" not in refused("a: [1\nb: 2")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        found = read(body)
    except ParseError:
        return
    assert read(canonical(found.value)).value == found.value
