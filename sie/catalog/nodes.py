"""Nodes: a value built from events, one at a time, that stops at its limits however small the text was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sie.catalog.canonical import Json, canonical
from sie.catalog.faults import Faults, shown, under
from sie.errors import ParseError


class _Key(Enum):
    NEXT = "a key comes next"
    MERGE = "`<<`: what comes next is merged in"
    LOST = "the key was no text; its value is read and dropped"


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come."""

    value: dict[str, Json] | list[Json]
    anchor: str | None
    events_before: int
    text_before: int
    key: str | _Key = _Key.NEXT
    merged: list[Mapping[str, Json]] | None = None
    height: int = 1  # levels of the deepest branch, this one included


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A finished value, and what it costs to write it out again."""

    value: Json
    events: int
    text: int
    height: int


@dataclass(slots=True)
class Nodes:
    """Feed it events; `root` is the value once the outermost one is closed. Raises ParseError at a limit.

    What JSON cannot hold goes to `faults` with its place, and a null stands where it was.
    """

    text_most: int
    events_most: int
    depth_most: int
    root: Json = None
    faults: Faults = field(default_factory=Faults)
    _open: list[_Open] = field(default_factory=list)
    _anchors: dict[str, _Anchored] = field(default_factory=dict)
    _events: int = 0
    _text: int = 0

    def open(
        self,
        value: dict[str, Json] | list[Json],
        *,
        tag: str | None = None,
        anchor: str | None = None,
        fault: str | None = None,
    ) -> None:
        """A mapping or a sequence begins, here empty. A tag counts as text: %TAG makes long ones of short ones."""
        if fault is not None:
            self.faults.add(self._place, fault)
        self._open.append(_Open(value, anchor, self._events, self._text))
        self._count(1, len(tag or ""), 0)

    def close(self) -> None:
        """The innermost one ends."""
        self._count(1, 0, 0)
        done = self._open.pop()
        if done.merged is not None and isinstance(done.value, dict):
            done.value = _merge(done.merged, done.value)
        self._remember(done.anchor, done.value, done.events_before, done.text_before, done.height)
        self._attach(done.value, done.height)

    def scalar(
        self, value: Json, *, cost: int, anchor: str | None = None, fault: str | None = None, merge: bool = False
    ) -> None:
        """`cost`: characters of it; `fault`: why it is no JSON; `merge`: it is a `<<`, if it stands as a key."""
        if fault is not None:
            self.faults.add(self._place, fault)
        before = (self._events, self._text)
        self._count(1, cost, 0)
        self._remember(anchor, value, *before, 0)
        parent = self._open[-1] if self._open else None
        if merge and parent is not None and parent.key is _Key.NEXT and isinstance(parent.value, dict):
            if parent.merged is not None:
                raise ParseError("the key '<<' stands twice in one mapping: give it a list")
            parent.merged = []
            parent.key = _Key.MERGE
        else:
            self._attach(value, 0)

    def alias(self, anchor: str) -> None:
        """The finished value of that name, again."""
        known = self._anchors.get(anchor)
        if known is None:
            raise ParseError(f"the alias *{shown(anchor)} names nothing that was finished before it")
        self._count(known.events, known.text, known.height)
        self._attach(known.value, known.height)

    def _count(self, events: int, text: int, height: int) -> None:
        self._events += events
        self._text += text
        if self._events > self.events_most:
            raise ParseError(f"more than {self.events_most} YAML events, those that aliases repeat counted")
        if self._text > self.text_most:
            raise ParseError(f"more than {self.text_most} characters, those that aliases repeat counted")
        if len(self._open) + height > self.depth_most:
            raise ParseError(f"nested more than {self.depth_most} deep")

    def _remember(self, anchor: str | None, value: Json, events_before: int, text_before: int, height: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = _Anchored(value, self._events - events_before, self._text - text_before, height)

    def _attach(self, value: Json, height: int) -> None:
        if not self._open:
            self.root = value
            return
        parent = self._open[-1]
        parent.height = max(parent.height, height + 1)
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is _Key.NEXT:
            parent.key = self._key(value, parent.value)
        else:
            if parent.key is _Key.MERGE:
                parent.merged = _sources(value)
            elif isinstance(parent.key, str):
                parent.value[parent.key] = value
            parent.key = _Key.NEXT

    def _key(self, value: Json, siblings: Mapping[str, Json]) -> str | _Key:
        if not isinstance(value, str):
            said = canonical(value).decode() if isinstance(value, int | float | None) else "a mapping or list"
            self.faults.add(lambda: under(self._place(), said), "a key must be text: quote it")
            return _Key.LOST
        if value in siblings:
            raise ParseError(f"the key {shown(value)!r} stands twice in one mapping")
        return value

    def _place(self) -> str:
        path = ""
        for one in self._open:
            if isinstance(one.value, list):
                path = f"{path}[{len(one.value)}]"
            elif isinstance(one.key, str):
                path = under(path, one.key)
            elif one.key is _Key.MERGE:
                path = under(path, "<<")
        return path


def _sources(value: Json) -> list[Mapping[str, Json]]:
    listed: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in listed):
        raise ParseError("'<<' merges a mapping or a list of mappings")
    return listed


def _merge(sources: list[Mapping[str, Json]], own: Mapping[str, Json]) -> dict[str, Json]:
    # The mapping's own keys win, then the earliest source: written in the opposite order.
    merged: dict[str, Json] = {}
    for one in reversed(sources):
        merged.update(one)
    merged.update(own)
    return merged
