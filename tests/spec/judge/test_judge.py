"""Judging files, as `python -m spec judge FILE…` does."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

import spec
from spec.guarantees import GUARANTEES
from spec.history import Event, write_history
from spec.judge import judge, main
from tests.spec.judge.made import (
    created,
    holds,
    lost,
    read,
    refused,
    router,
    settled,
    stands,
    store,
    told,
    unchanged,
    watching,
    worker,
)

WRONG: Sequence[Event] = [created(1), refused(2, model="other"), settled(), store(10, {}), router(10, {})]


def written(path: Path, events: Iterable[Event]) -> str:
    with path.open("w", encoding="utf-8") as file:
        write_history(events, file)
    return str(path)


def test_of_right_histories_it_says_that_nothing_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [written(tmp_path / name, [created(1), store(5)]) for name in ("one", "two")]
    assert main(files) == 0
    assert capsys.readouterr().out == "".join(f"{name}: 2 events, nothing broken\n" for name in files)


def test_of_a_wrong_one_it_names_the_guarantee_and_shows_the_events_that_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = written(tmp_path / "right", [created(1)]), written(tmp_path / "wrong", WRONG)
    assert main([right, wrong]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"{wrong}: 5 events, broken: no-accepted-write-lost"
    assert said[2] == "no-accepted-write-lost: m p was accepted and r1 has lost it"
    assert [line.split('"')[3] for line in said[3:5]] == ["post", "listing"]
    assert said[5:] == ["    and 1 more"]


def test_the_excerpt_is_of_the_models_that_it_is_about() -> None:
    many = {f"other/{number}": {"p": "x"} for number in range(100)}
    (found,) = judge([created(1), store(5, {}, models=many, revision=7)])
    assert sum(len(str(event)) for event in found.events) < 1000
    (found,) = judge([lost(1), settled(), store(10, models={**many, "m": {"p": "x"}}), router(10, models=many)])
    assert sum(len(str(event)) for event in found.events) < 1000


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b'{"kind": "wish"}\n', None], ids=["torn", "bytes", "kind", "absent"]
)
def test_what_cannot_be_read_is_said_and_is_neither_right_nor_wrong(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history"
    if content is not None:
        path.write_bytes(content)
    assert main([written(tmp_path / "wrong", WRONG), str(path)]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-"]])
def test_without_files_it_says_how_it_is_used(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "FILE" in capsys.readouterr().err


def test_each_guarantee_is_stated_in_a_sentence_under_its_name() -> None:
    for name, guarantee in GUARANTEES.items():
        assert guarantee.__name__ == name.replace("-", "_")
        assert (guarantee.__doc__ or "").endswith(".")


def test_a_judge_needs_nothing_but_the_standard_library() -> None:
    folder = Path(spec.__path__[0])
    files = [folder / f"{name}.py" for name in ("history", "evidence", "judge")]
    for file in [*files, *(folder / "guarantees").glob("*.py")]:
        nodes = list(ast.walk(ast.parse(file.read_text())))
        named = [one.module or "" for one in nodes if isinstance(one, ast.ImportFrom)]
        named += [name.name for one in nodes if isinstance(one, ast.Import) for name in one.names]
        roots = {one.partition(".")[0] for one in named}
        assert roots <= {"spec", *sys.stdlib_module_names}, file


def test_a_long_history_is_judged_in_steps_that_grow_as_it_does() -> None:
    """Steps and not seconds, which depend on the machine."""

    def steps(posts: int) -> int:
        profiles = {f"p{number}": "x" for number in range(posts)}
        history: list[Event] = [watching(0)]
        for number in range(posts):
            one = {f"p{number}": "x"}
            history += [
                created(number, number + 1, one, acked=1),
                unchanged(number, number + 1, one),
                lost(number, one),
                refused(number, 409, profiles={"p0": f"y{number}"}),
                refused(number, profiles=one, key="one"),
                told(number, number + 1, one),
                holds(number, "x", profile=f"p{number}"),
                stands(number, number + 1),
            ]
        history += [read(posts, posts, profiles), settled(posts + 1), store(posts + 1, profiles)]
        history += [router(posts + 1, profiles), worker(posts + 1, profiles)]
        count = 0

        def tally(*_: object) -> Callable[..., Any]:
            nonlocal count
            count += 1
            return tally

        before = sys.gettrace()
        sys.settrace(tally)
        try:
            assert judge(history) == []
        finally:
            sys.settrace(before)
        return count

    assert steps(400) < 9 * steps(50)
