"""The life of a service as a program, from outside."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import Mock

import pytest

from sie.http import version

_PROGRAM = """
import gc, trio
from sie.program import run_program
from sie.settings import Settings

async def serve_and_settle(settings, *, stop, settled, task_status):
    task_status.started("here")
    await trio.testing.wait_all_tasks_blocked()
    print("reading", gc.isenabled())
    settled.set()
    await trio.testing.wait_all_tasks_blocked()
    print("settled", gc.isenabled(), gc.get_freeze_count() > 0)

async def serve(settings, *, stop, task_status):
    print("starting", gc.isenabled())
    if settings.port == 1:
        raise RuntimeError("not today")
    task_status.started("here")
    await trio.testing.wait_all_tasks_blocked()
    print("serving", gc.isenabled(), gc.get_freeze_count() > 0)

import sys, trio.testing
try:
    if sys.argv[1] == "2":
        run_program(serve_and_settle, Settings(), lambda settings, address: address, settles=True)
    else:
        run_program(serve, Settings(port=int(sys.argv[1])), lambda settings, address: address)
except* RuntimeError:
    print("failed", gc.isenabled())
"""


def run(port: int) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, str(port)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_no_garbage_is_looked_for_while_a_catalog_grows_at_start() -> None:
    assert run(0) == ["starting False", "here", "serving True True"]


def test_nor_while_one_that_serves_already_reads_what_it_serves() -> None:
    assert run(2) == ["here", "reading False", "settled True True"]


def test_after_a_start_that_fails_garbage_is_looked_for_again() -> None:
    assert run(1) == ["starting False", "failed True"]


def test_the_version_is_looked_up_once_and_not_for_every_status(monkeypatch: pytest.MonkeyPatch) -> None:
    version.server_version.cache_clear()
    looked_up = Mock(return_value="9.9.9")
    monkeypatch.setattr(version, "version", looked_up)
    assert [version.server_version() for _ in range(3)] == ["9.9.9"] * 3
    looked_up.assert_called_once_with("sie")
    version.server_version.cache_clear()
