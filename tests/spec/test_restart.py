"""One restart for all that wait for one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from spec.restart import Restart, RestartFailed


def test_it_happens_once_when_all_are_there_and_those_that_left_are_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    restart = Restart(f"echo again >> {log}", awaited=4)
    seconds: list[float] = []
    threads = [threading.Thread(target=lambda: seconds.append(restart.arrive()), daemon=True) for _ in range(3)]
    for one in threads[:2]:
        one.start()
    restart.leave()
    assert not log.exists()
    threads[2].start()
    for one in threads:
        one.join(10)
    assert len(seconds) == 3
    assert log.read_text() == "again\n"


def test_the_last_to_leave_lets_the_others_go_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    restart = Restart(f"echo again >> {log}", awaited=2)
    thread = threading.Thread(target=restart.arrive, daemon=True)
    thread.start()
    restart.leave()
    thread.join(10)
    assert log.read_text() == "again\n"


def test_where_all_left_nothing_is_restarted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    restart = Restart(f"echo again >> {log}", awaited=1)
    restart.leave()
    assert not log.exists()


def test_a_command_that_fails_is_told_to_each(tmp_path: Path) -> None:
    restart = Restart("echo no such unit >&2; exit 3", awaited=1)
    with pytest.raises(RestartFailed) as failed:
        restart.arrive()
    assert "exit status 3: no such unit" in str(failed.value)
