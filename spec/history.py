"""A history: what clients did to a cluster and what was seen of it, as values, and as a file of JSON lines.

One clock for all of it, in seconds from any zero. What began and ended happened at some moment in between. What never
ended (`end` None) may have happened at any moment after `begin`, or not at all. Events stand in the order in which they
were written down: of one moment, the order is that of time.
Contents of profiles are text that is equal exactly where the contents are: canonical JSON, or a hash of it; "" where
the profile was seen and its content was not.
A worker that is started again is another one, and has another name; a router keeps its name if it then knows what it
knew. What was there before the first event is told by a listing before it, or by one of a store: a profile that is
there and in no entry of the log was there before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, TextIO, TypeAlias

FORMAT = 1


class BadHistory(ValueError):
    """A file that is no history: the message names the line and the field, and says what is expected there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The first line. `source`: what made the history, and how it can be made again.

    `holds`: whether every Holds of every worker was seen. Where they were not, what workers had is no evidence.
    """

    kind: ClassVar[str] = "about"
    source: str
    holds: bool = True
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One POST of a model. `profiles`: all those posted, by name, with their contents.

    `status` 0: no answer. `unknown`: an error that says that it may have happened. `created`, `revision`, `store`,
    `acked`, `pending`, `bundles`: as answered; `bundles` are those that can run a created profile, by its name. `key`:
    the Idempotency-Key, "" if none.
    """

    kind: ClassVar[str] = "post"
    begin: float
    end: float | None = None
    client: str = ""
    to: str
    model: str
    profiles: Mapping[str, str]
    key: str = ""
    status: int = 0
    unknown: bool = False
    created: Sequence[str] = ()
    revision: int = 0
    store: str = ""
    acked: int = 0
    pending: bool = True
    bundles: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        return self.status in (200, 201)

    @property
    def refused(self) -> bool:
        """Nothing of it may be anywhere."""
        return self.status >= 400 and not self.unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One GET of a model. `at_least`: the revision that the reader asked for; `profiles`: None where there was no such
    model; meaningful with `status` 200 and 404 only."""

    kind: ClassVar[str] = "read"
    begin: float
    end: float | None = None
    client: str = ""
    to: str
    model: str
    at_least: int = 0
    status: int = 0
    profiles: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One inference request. `worker`: who answered; `content`: of the profile it was answered by, "" unless 200."""

    kind: ClassVar[str] = "served"
    begin: float
    end: float | None = None
    to: str
    model: str
    profile: str
    status: int = 0
    worker: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that somebody knows at one moment. `role`: "router", "worker" or "store".

    `models`: by id, their profiles with their contents; of a store, its log over the files that everybody has.
    `entries`: for a store, the (revision, model, profiles) of its log, in its order. `heads`: for a store, by bundle,
    the revision and the digest of a worker that knows all of it.
    """

    kind: ClassVar[str] = "listing"
    at: float
    who: str
    role: str
    models: Mapping[str, Mapping[str, str]]
    bundle: str = ""
    store: str = ""
    revision: int = 0
    digest: str = ""
    entries: Sequence[tuple[int, str, Sequence[str]]] = ()
    heads: Mapping[str, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """How a worker says it stands, the moment it says so. A worker that is started again is another one."""

    kind: ClassVar[str] = "stands"
    at: float
    worker: str
    bundle: str
    store: str
    revision: int
    digest: str
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """From here on a worker has the profile, with this content."""

    kind: ClassVar[str] = "holds"
    at: float
    worker: str
    bundle: str
    model: str
    profile: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """A watcher begins, or comes back, to be told of what came after `since`; `status` 410: it has to read anew."""

    kind: ClassVar[str] = "watching"
    at: float
    watcher: str
    to: str
    store: str
    since: int
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a watcher was told: an entry; or, without a model, a bookmark: up to there it has been told all."""

    kind: ClassVar[str] = "watched"
    at: float
    watcher: str
    store: str
    revision: int
    model: str = ""
    profiles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What else happened, for people: a fault, a start, an end."""

    kind: ClassVar[str] = "note"
    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The faults have ended, and so much time has passed that everybody is to be level. Listings after it are final.

    `excused`: who is not to be level, as one that could not be reached to the end.
    """

    kind: ClassVar[str] = "settled"
    at: float
    excused: Sequence[str] = ()


Event: TypeAlias = About | Post | Read | Served | Listing | Stands | Holds | Watching | Watched | Note | Settled

_KINDS: Mapping[str, type[Event]] = {
    one.kind: one for one in (About, Post, Read, Served, Listing, Stands, Holds, Watching, Watched, Note, Settled)
}


# -- as a file


def write_history(events: Iterable[Event], file: TextIO) -> None:
    """One line of JSON an event, with `kind` first; what is as by default is left out. Raises ValueError for a NaN."""
    for event in events:
        file.write(event_line(event) + "\n")


def read_history(file: TextIO) -> Sequence[Event]:
    """What `write_history` wrote, with tuples for all sequences. Raises BadHistory at the first line that is wrong."""
    return [_read_line(number, line) for number, line in enumerate(file, 1) if line.strip()]


def event_line(event: Event) -> str:
    """The event as its line in a file, without the newline."""
    said = {"kind": event.kind}
    for name, default, _ in _FIELDS[type(event)]:
        value = getattr(event, name)
        if value != default:
            said[name] = value
    return json.dumps(said, allow_nan=False, ensure_ascii=False)


def _read_line(number: int, line: str) -> Event:
    try:
        said = json.loads(line)
    except ValueError as fault:
        raise BadHistory(f"line {number} is no JSON: {fault}") from None
    if not isinstance(said, dict):
        raise BadHistory(f"line {number} is no JSON object: write one event a line")
    kind = _KINDS.get(str(said.pop("kind", None)))
    if kind is None:
        raise BadHistory(f"line {number}: kind must be one of {', '.join(_KINDS)}")
    values = {}
    for name, default, form in _FIELDS[kind]:
        if name in said:
            try:
                values[name] = _FORMS[form](said.pop(name))
            except (TypeError, ValueError, AttributeError):
                raise BadHistory(f"line {number}: {name} of a {kind.kind} must be {form}") from None
        elif default is MISSING:
            raise BadHistory(f"line {number}: a {kind.kind} needs {name}")
    if said:
        raise BadHistory(f"line {number}: a {kind.kind} has no {', '.join(said)}; leave it out")
    if values.get("status") and "begin" in values and values.get("end") is None:
        raise BadHistory(f"line {number}: end of a {kind.kind} that was answered must be float")
    if kind is About and values.get("format", FORMAT) != FORMAT:
        raise BadHistory(f"line {number}: format is {values['format']} and this reads {FORMAT}: use a newer judge")
    return kind(**values)


def _number(said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise TypeError
    return said


def _exact(form: type[Any]) -> Callable[[Any], Any]:
    def read(said: Any) -> Any:
        if type(said) is not form:
            raise TypeError
        return said

    return read


_integer, _text, _flag = _exact(int), _exact(str), _exact(bool)


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda said: None if said is None else read(said)


def _each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_all(said: Any) -> tuple[Any, ...]:
        if not isinstance(said, list):
            raise TypeError
        return tuple(map(read, said))

    return read_all


def _by_name(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda said: {name: read(value) for name, value in said.items()}


def _row(*reads: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda said: tuple(read(value) for read, value in zip(reads, said, strict=True))


# How a field is read, by what it is declared to be.
_FORMS: Mapping[str, Callable[[Any], Any]] = {
    "float": _number,
    "float | None": _or_none(_number),
    "int": _integer,
    "str": _text,
    "bool": _flag,
    "Sequence[str]": _each(_text),
    "Mapping[str, str]": _by_name(_text),
    "Mapping[str, str] | None": _or_none(_by_name(_text)),
    "Mapping[str, Mapping[str, str]]": _by_name(_by_name(_text)),
    "Mapping[str, Sequence[str]]": _by_name(_each(_text)),
    "Mapping[str, tuple[int, str]]": _by_name(_row(_integer, _text)),
    "Sequence[tuple[int, str, Sequence[str]]]": _each(_row(_integer, _text, _each(_text))),
}


def _default(one: Any) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


# Of each kind of event, its fields: name, default or MISSING, and what it is declared to be.
_FIELDS: Mapping[type[Any], Sequence[tuple[str, Any, str]]] = {
    kind: [(one.name, _default(one), str(one.type)) for one in fields(kind)] for kind in _KINDS.values()
}
