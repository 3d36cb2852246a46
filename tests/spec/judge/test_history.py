"""A history as a file: what is written is read again, and what is no history is named by its line and field."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import get_args

import pytest

from spec.history import About, BadHistory, Event, Holds, Note, Served, event_line, read_history, write_history
from tests.spec.judge.made import (
    A,
    bookmark,
    created,
    holds,
    lost,
    read,
    refused,
    served,
    settled,
    stands,
    store,
    told,
    watching,
    worker,
)

EVENTS: Sequence[Event] = (
    About(source="a test", holds=False),
    created(0.1 + 0.2, 4, acked=2, pending=False, bundles={"p": ("b", "c")}, key="k", client="one"),
    refused(1.0, 409),
    lost(3.5),
    read(3, 2, {"p": A, "q": '\u2028 ö \\ " \n'}),
    read(3, 2, None),
    read(3, 2, {}),
    served(1e-9),
    Served(begin=1, to="r1", model="m", profile="p"),
    store(5, heads={"b": (3, "digest")}),
    worker(5),
    stands(6, 2, ready=False),
    holds(7),
    watching(8, status=410),
    told(9, 1),
    bookmark(9, 1),
    Note(at=9, text="the store is down"),
    settled(10, excused=("w1", "w2")),
)


def test_what_is_written_is_read_again() -> None:
    assert {type(one) for one in EVENTS} == set(get_args(Event)), "one of each kind"
    file = io.StringIO()
    write_history(EVENTS, file)
    file.seek(0)
    assert read_history(file) == list(EVENTS)


def test_an_event_is_a_line_with_its_kind_first_and_without_what_is_as_by_default() -> None:
    assert event_line(Note(at=1.5, text="ö")) == '{"kind": "note", "at": 1.5, "text": "ö"}'
    assert len(io.StringIO("".join(event_line(one) + "\n" for one in EVENTS)).readlines()) == len(EVENTS)


def test_empty_lines_are_no_events() -> None:
    assert read_history(io.StringIO(f"\n{event_line(holds(1))}\n\n")) == [holds(1)]


def test_what_json_cannot_say_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        event_line(Note(at=float("nan"), text=""))


HOLDS = '"worker": "w", "bundle": "b", "model": "m", "profile": "p", "content": "c"'
NOT_READ = {
    "no JSON": ("{", "line 2 is no JSON"),
    "no object": ("[1]", "line 2 is no JSON object"),
    "no kind": ("{}", "line 2: kind must be one of about, post"),
    "a kind that there is not": ('{"kind": "wish"}', "line 2: kind must be one of"),
    "a kind that is no text": ('{"kind": ["post"]}', "line 2: kind must be one of"),
    "a field too few": ('{"kind": "holds", "at": 1}', "line 2: a holds needs worker"),
    "a field too many": ('{"kind": "note", "at": 1, "text": "", "b": 2}', "line 2: a note has no b"),
    "text for a number": (f'{{"kind": "holds", "at": "1", {HOLDS}}}', "line 2: at of a holds must be float"),
    "a flag for a number": (f'{{"kind": "holds", "at": true, {HOLDS}}}', "line 2: at of a holds must be float"),
    "a fraction for a revision": (
        '{"kind": "watched", "at": 1, "watcher": "w", "store": "s", "revision": 1.5}',
        "line 2: revision of a watched must be int",
    ),
    "a number for a flag": (
        '{"kind": "post", "begin": 1, "to": "r", "model": "m", "profiles": {}, "unknown": 1}',
        "line 2: unknown of a post must be bool",
    ),
    "a list for a mapping": (
        '{"kind": "post", "begin": 1, "to": "r", "model": "m", "profiles": ["p"]}',
        "line 2: profiles of a post must be Mapping[str, str]",
    ),
    "text for a list": (
        '{"kind": "settled", "at": 1, "excused": "w1"}',
        "line 2: excused of a settled must be Sequence[str]",
    ),
    "an entry without profiles": (
        '{"kind": "listing", "at": 1, "who": "s", "role": "store", "models": {}, "entries": [[1, "m"]]}',
        "line 2: entries of a listing must be",
    ),
    "an answer without an end": (
        '{"kind": "post", "begin": 1, "to": "r", "model": "m", "profiles": {}, "status": 201}',
        "line 2: end of a post that was answered must be float",
    ),
    "another format": ('{"kind": "about", "source": "", "format": 2}', "line 2: format is 2 and this reads 1"),
}


@pytest.mark.parametrize("why", NOT_READ)
def test_a_line_that_is_no_event_is_named_with_its_field(why: str) -> None:
    line, message = NOT_READ[why]
    with pytest.raises(BadHistory) as caught:
        read_history(io.StringIO(f"{event_line(holds(1))}\n{line}\n"))
    assert message in str(caught.value)


def test_holds_is_what_it_says() -> None:
    assert read_history(io.StringIO(f'{{"kind": "holds", "at": 1, {HOLDS}}}')) == [
        Holds(at=1, worker="w", bundle="b", model="m", profile="p", content="c")
    ]
