"""A case: one expectation, as a file holds it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spec import schema

try:
    from yaml import CSafeLoader as _Base  # five times as fast, where pyyaml was built with libyaml
except ImportError:
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

HERE = Path(__file__).parent
CASES = HERE / "cases"


class BadCase(Exception):
    """A file that is not a case. The text names the file and everything wrong with it."""


class Reader(_Base):
    """YAML as version 1.2 reads it where 1.1 surprises: `on` is a word and a date a text; and no key is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if key.tag != _MERGE]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(doubled)} twice", node.start_mark)
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"
_WORDS = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
Reader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _WORDS]
    for first, known in _Base.yaml_implicit_resolvers.items()
}
Reader.add_implicit_resolver(_WORDS[0], re.compile("^(?:true|false)$"), ["t", "f"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`name`: its path below the cases, without suffix. `steps` as written, variables not filled in."""

    name: str
    clause: str
    shows: str
    needs: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    asks_alone: bool = False

    @property
    def group(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def stem(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def alone(self) -> bool:
        """Whether it runs after all others, and while no other does."""
        return self.asks_alone or self.restarts or any(map(_is_timed, self.steps))

    @property
    def restarts(self) -> bool:
        return any("restart" in step for step in self.steps)


def read_cases(folder: Path = CASES) -> Sequence[Case]:
    """Every case below a folder, by name. Raises BadCase with all that is wrong in any of them."""
    cases: list[Case] = []
    bad: list[str] = []
    for path in sorted(folder.rglob("*.yaml")):
        try:
            cases.append(
                read_case(path.read_text(encoding="utf-8"), path.relative_to(folder).with_suffix("").as_posix())
            )
        except BadCase as fault:
            bad.append(str(fault))
    if bad:
        raise BadCase("\n".join(bad))
    return cases


def read_case(text: str, name: str) -> Case:
    """One case of this name. Raises BadCase."""
    try:
        value = yaml.load(text, Reader)
    except yaml.YAMLError as fault:
        raise BadCase(f"{name}: not YAML: {fault}") from None
    if found := list(schema.faults(value, case_schema(), case_schema())):
        raise BadCase("\n".join(f"{name}: {one}" for one in found))
    return Case(
        name=name,
        clause=value["clause"],
        shows=value["shows"],
        needs=tuple(value.get("needs", ())),
        steps=tuple(value["steps"]),
        asks_alone=value.get("alone", False),
    )


def _is_timed(step: Mapping[str, Any]) -> bool:
    """Whether an answer must come in time: its own time then, not that of waiting behind other cases' requests."""
    return any("within_s" in one.get("expect", {}) and "until" not in one for one in requests_of(step))


@functools.cache
def case_schema() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((HERE / "case.schema.yaml").read_text(encoding="utf-8"))
    return found


def requests_of(step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The HTTP requests in a step, in order."""
    if "repeat_until" in step:
        yield step["repeat_until"]
    elif "together" in step:
        yield from step["together"]
    elif step.keys() & METHODS:
        yield step


METHODS = frozenset({"get", "post", "put", "delete", "patch", "head", "options"})
