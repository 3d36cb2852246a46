"""An HTTP answer, and what a case expects of one. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from spec.expect import ABSENT, Difference, differences, is_matcher, shown


class Unreadable(Exception):
    """A body that is not what it should be. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`headers`: by lower-case name; those that came several times are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "backslashreplace")

    @property
    def json(self) -> Any:
        """Raises Unreadable."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as fault:
            raise Unreadable(f"a body that is not JSON: {shown(self.text)}: {fault}") from None

    @property
    def yaml(self) -> Any:
        """Raises Unreadable."""
        try:
            return yaml.safe_load(self.body)
        except (yaml.YAMLError, ValueError, RecursionError) as fault:
            raise Unreadable(f"a body that is not YAML: {shown(self.text)}: {fault}") from None

    def document(self, part: str) -> Any:
        """What a path of `save:` begins with: status, headers, json, yaml or text. Raises Unreadable."""
        match part:
            case "json":
                return self.json
            case "yaml":
                return self.yaml
            case "headers":
                return self.headers
            case "status":
                return self.status
        return self.text

    def __str__(self) -> str:
        lines = [f"{self.status} after {self.seconds:.3f} s"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        more = f"… ({len(self.body)} bytes)" if len(self.body) > 2000 else ""
        return "\n".join([*lines, "", self.text[:2000].rstrip("\n") + more])


def judge(expected: Mapping[str, Any], answer: Answer) -> list[Difference]:
    """How an answer differs from what a case expects of it."""
    found: list[Difference] = []
    for part, wanted in expected.items():
        match part:
            case "status":
                found += _judge_status(wanted, answer.status)
            case "headers":
                for name, value in wanted.items():
                    found += _judge_header(name, value, answer.headers.get(name.lower()))
            case "json" | "yaml":
                try:
                    document = answer.document(part)
                except Unreadable as fault:
                    found.append(Difference(part, shown(wanted), str(fault)))
                else:
                    found += differences(wanted, document, part, document=document)
            case "text":
                found += _judge_text(wanted, answer.text)
            case "within_s" if answer.seconds > wanted:
                found.append(Difference("time", f"an answer within {wanted} s", f"one after {answer.seconds:.2f} s"))
    return found


def _judge_status(wanted: Any, status: int) -> list[Difference]:
    if isinstance(wanted, list):
        wanted = {"$one_of": wanted}
    return differences(wanted, status, "status")


def _judge_header(name: str, wanted: Any, value: str | None) -> list[Difference]:
    at = f"header {name}"
    if wanted is None:
        return [] if value is None else [Difference(at, "no such header", shown(value))]
    if is_matcher(wanted):
        return differences(wanted, ABSENT if value is None else value, at)
    if value is not None and value.lower().startswith(str(wanted).lower()):
        return []
    return [Difference(at, f"{wanted}…", "no such header" if value is None else shown(value))]


def _judge_text(wanted: Any, text: str) -> list[Difference]:
    checks = {"equals": wanted} if isinstance(wanted, str) else wanted
    for check, words in checks.items():
        match check:
            case "equals":
                holds = text == words
            case "contains":
                holds = words in text
            case "not_contains":
                holds = words not in text
            case _:
                holds = re.search(words, text) is not None
        if not holds:
            return [Difference("text", f"a text that {check.replace('_', ' ')} {words!r}", shown(text))]
    return []
