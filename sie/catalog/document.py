# Rule 1: a document is read from events, never by a loader that builds as it likes: what aliases repeat is counted.
# Rule 2: what leaves here is JSON. Nothing later needs to ask what a date or a set would hash to.
"""Documents: YAML or JSON bytes to a JSON value within limits, and back to YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from sie.catalog.canonical import Json
from sie.catalog.faults import shown
from sie.catalog.jsontext import feed_json, looks_like_json
from sie.catalog.nodes import Nodes
from sie.catalog.scalars import NotJson, read_scalar, tag_of
from sie.errors import ConfigurationError, ParseError, PayloadTooLarge

if not yaml.__with_libyaml__:
    raise ConfigurationError("PyYAML has no libyaml here, and without it parsing takes seconds: install a PyYAML wheel")

# libyaml compares every %TAG with all before it; nobody needs more than a few.
_TAGS_MOST = 16

_CURE = " (the body is one line: `curl -d @file` strips line breaks, `curl --data-binary @file` keeps them)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLimits:
    """What a document may cost. Events and text that an alias repeats count each time, as if written out."""

    body_bytes: int
    yaml_events: int
    yaml_depth: int


# A file is its operator's own: these only keep an accident (a model's weights named .yaml) from filling the memory.
FILE_LIMITS = DocumentLimits(body_bytes=4 << 20, yaml_events=200_000, yaml_depth=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One mapping. A value that JSON cannot hold is a null in `value`, and its place and cure are in `faults`.

    `hint` ends the message of whatever is wrong with it: line breaks that a client seems to have lost, else "".
    """

    value: Mapping[str, Json]
    faults: list[dict[str, str]]
    hint: str = ""


def read_document(content: bytes, *, limits: DocumentLimits, cure_newlines: bool = True) -> Document:
    """Bytes to a document, YAML 1.1 as `yaml.safe_load` reads it, but that it takes an anchor given twice, or JSON.

    `cure_newlines`: say what helps when the bytes look like a file whose line breaks were lost on the way.
    Raises PayloadTooLarge; ParseError for anything but one mapping in well-formed UTF-8 without a key said twice.
    """
    if len(content) > limits.body_bytes:
        raise PayloadTooLarge(f"larger than {limits.body_bytes} bytes", limit_bytes=limits.body_bytes)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise ParseError(f"not UTF-8: byte {fault.start} is 0x{content[fault.start]:02x}") from None
    hint = _CURE if cure_newlines and _lost_its_lines(text) else ""
    nodes = Nodes(text_most=limits.body_bytes, events_most=limits.yaml_events, depth_most=limits.yaml_depth)
    try:
        if not (looks_like_json(text, limits.yaml_depth) and feed_json(text, nodes)):
            _feed_yaml(text, nodes)
        value = nodes.root
        if not isinstance(value, dict):
            raise ParseError("must be one mapping, such as `sie_id: org/model` and `profiles: ...`")
    except ParseError as fault:
        raise ParseError(fault.message + hint) from None
    return Document(value=value, faults=nodes.faults.details(), hint=hint)


def _lost_its_lines(text: str) -> bool:
    line = text.strip()
    if "\n" in line or "\r" in line or line.startswith("{"):
        return False
    return line.startswith("#") or line.count(":") > 1


def _feed_yaml(text: str, nodes: Nodes) -> None:
    if text.count("%TAG") > _TAGS_MOST:
        raise ParseError(f"more than {_TAGS_MOST} %TAG directives")
    documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                _feed_scalar(event, nodes)
            elif isinstance(event, yaml.MappingStartEvent):
                nodes.open({}, tag=event.tag, anchor=event.anchor, fault=_odd_tag(event.tag, "map"))
            elif isinstance(event, yaml.SequenceStartEvent):
                nodes.open([], tag=event.tag, anchor=event.anchor, fault=_odd_tag(event.tag, "seq"))
            elif isinstance(event, yaml.CollectionEndEvent):
                nodes.close()
            elif isinstance(event, yaml.AliasEvent):
                nodes.alias(str(event.anchor))
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ParseError("more than one document: send one at a time")
    except yaml.YAMLError as fault:
        _refuse(fault)
    if not documents:
        raise ParseError("empty: no document in it")


def _feed_scalar(event: Any, nodes: Nodes) -> None:
    tag = tag_of(event)
    value: Json = None
    fault = None
    try:
        value = read_scalar(tag, event.value)
    except NotJson as refused:
        fault = str(refused)
    cost = len(event.value) + len(event.tag or "")
    nodes.scalar(value, cost=cost, anchor=event.anchor, fault=fault, merge=tag == "tag:yaml.org,2002:merge")


def _odd_tag(tag: str | None, usual: str) -> str | None:
    if tag is None or tag in ("!", f"tag:yaml.org,2002:{usual}"):
        return None
    return f"the tag {shown(tag)} has no JSON form: leave it out"


def _refuse(fault: yaml.YAMLError) -> NoReturn:
    if isinstance(fault, yaml.MarkedYAMLError) and fault.problem_mark is not None:
        mark = fault.problem_mark
        said = " ".join(part for part in (fault.context, fault.problem) if part)
        raise ParseError(f"not well-formed YAML, line {mark.line + 1}, column {mark.column + 1}: {said}") from None
    said = " ".join(str(fault).split())
    raise ParseError(f"not well-formed YAML: {said}") from None


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


# Text to us and to any reader of YAML 1.1, but a number to one of YAML 1.2: quoted, so that both read text.
_NUMBER_OF_1_2 = re.compile(r"[-+]?(0o[0-7]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)")


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _NUMBER_OF_1_2.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def write_document(value: Mapping[str, Json]) -> str:
    """A value as YAML, keys in their order; `read_document` gives the identical value back."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text
