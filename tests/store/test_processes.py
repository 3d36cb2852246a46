"""Several real processes on one directory, and processes that are killed in the middle of it."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from sie.store.check import check_store
from tests.store.samples import ROOT, local


def _start(base: Path, count: int, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.appender", str(base), str(count), name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _streams(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _read(lines: list[str]) -> dict[int, str]:
    """What was acknowledged: the write id at each number. A line cut short by the kill was not."""
    said = (line.split() for line in lines if line.endswith("\n") and line != "ready\n")
    return {int(revision): write_id for revision, write_id in said}


async def test_two_processes_append_500_entries_and_every_accepted_one_is_there_once_and_in_order(
    tmp_path: Path,
) -> None:
    processes = [_start(tmp_path, 250, name) for name in ("left", "right")]
    for process in processes:
        assert _streams(process)[1].readline() == "ready\n"
    for process in processes:
        _streams(process)[0].close()
    accepted: list[dict[int, str]] = []
    for process in processes:
        accepted.append(_read(_streams(process)[1].readlines()))
        with process:
            assert process.wait() == 0
    left, right = accepted
    assert not left.keys() & right.keys()
    log = await (await local(tmp_path)).entries_since(0)
    assert {one.revision: one.write_id for one in log} == left | right
    assert [one.revision for one in log] == list(range(1, 501))
    for name, own in (("left", left), ("right", right)):
        assert [own[revision] for revision in sorted(own)] == [f"{name}-{n}" for n in range(250)]
    assert check_store(tmp_path).ok


async def test_what_was_acknowledged_outlives_20_kills(tmp_path: Path) -> None:
    await _kill_again_and_again(tmp_path, kills=20, least=0)


@pytest.mark.slow
async def test_what_was_acknowledged_outlives_kills_during_1000_appends(tmp_path: Path) -> None:
    await _kill_again_and_again(tmp_path, kills=0, least=1000)


async def _kill_again_and_again(base: Path, *, kills: int, least: int) -> None:
    """Kill so many times, and until so many entries are there; look at the log after every kill."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: dict[int, str] = {}
    head = killed = 0
    while killed < kills or head < least:
        with _start(base, 1_000_000, f"life-{killed}") as process:
            begin, said = _streams(process)
            begin.close()
            lines = [said.readline() for _ in range(chance.randrange(20))]
            process.kill()  # wherever it is by now: a few numbers further on, in the middle of something
            lines += said.readlines()
        killed += 1
        acknowledged |= _read(lines)
        log = {one.revision: one.write_id for one in await (await local(base)).entries_since(0)}
        assert acknowledged.items() <= log.items()
        assert list(log) == list(range(1, len(log) + 1))
        # Beside what was acknowledged stands at most the one that each life was at when it ended.
        assert len(log) - len(acknowledged) <= killed
        assert check_store(base).ok
        head = len(log)
    assert acknowledged
