"""The command from outside, against servers that are no implementation: its exit status says what happened."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spec.__main__ import main
from spec.case import CASES
from tests.ports import free_port
from tests.processes import Served
from tests.spec.servers import http_server, raw_server

_ALL_S = 30.0  # what one target may take, whatever it is


def says_nothing(method: str, path: str, body: bytes) -> tuple[int, bytes]:
    return 200, b"{}"


def test_a_server_that_says_200_to_everything_fails_nearly_everything(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    began = time.monotonic()
    with http_server(says_nothing) as url:
        done = subprocess.run(
            [sys.executable, "-m", "spec", url, "--report", str(file)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1, done.stdout + done.stderr
    assert time.monotonic() - began < _ALL_S
    statuses = [one["status"] for one in json.loads(file.read_text())["cases"]]
    failed, passed = statuses.count("failed"), statuses.count("passed")
    assert failed > 20 * passed, sorted(
        one["name"] for one in json.loads(file.read_text())["cases"] if one["status"] == "passed"
    )


def test_a_failure_is_told_with_its_clause_its_request_and_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    with http_server(says_nothing) as url:
        assert main([url, "--only", "listing/*"]) == 1
    told = capsys.readouterr().out
    assert "FAILED  X-070 " in told
    assert "case listing/" in told
    assert "/v1/configs/models" in told
    assert "expected:" in told
    assert "got:" in told


def hangs(one: socket.socket) -> None:
    while one.recv(1 << 16):
        pass


def resets(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def drips(one: socket.socket) -> None:
    one.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        one.sendall(b"X: y\r\n")
        time.sleep(0.2)


def garbage(one: socket.socket) -> None:
    one.sendall(b"\0\xff not HTTP \r\n\r\n" * 100)


@pytest.mark.parametrize("meet", [hangs, resets, garbage, socket.socket.close])
def test_who_does_not_speak_http_cannot_be_judged(
    meet: Callable[[socket.socket], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spec.target._FIRST_S", 0.3)
    with raw_server(meet) as port:
        assert main([f"http://127.0.0.1:{port}"]) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("meet", [hangs, resets, garbage, drips])
@pytest.mark.slow  # up to 30 s each, which is what they are about
def test_whoever_stops_in_the_middle_is_judged_in_time(meet: Callable[[socket.socket], None], *, first: bool) -> None:
    """Answers until the target is found; afterwards everything, or all but what is read first, meets the fault."""

    def serve(one: socket.socket) -> None:
        request = one.recv(1 << 16)
        line = request.split(b"\r\n")[0]
        if b"/bundles" in line or b"openapi" in line or (first and line.startswith(b"GET /v1/configs/models ")):
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        else:
            meet(one)

    began = time.monotonic()
    with raw_server(serve) as port:
        done = subprocess.run(
            [sys.executable, "-m", "spec", f"http://127.0.0.1:{port}"], capture_output=True, check=False
        )
    assert done.returncode == 1
    assert time.monotonic() - began < _ALL_S


def test_nobody_there_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"http://127.0.0.1:{free_port()}"]) == 2
    assert "does not answer" in capsys.readouterr().err
    with http_server(says_nothing) as url:
        for option in ("--router2", "--worker"):
            assert main([url, option, f"http://127.0.0.1:{free_port()}"]) == 2
        assert main([url, "--nats", f"nats://127.0.0.1:{free_port()}"]) == 2
        assert "127.0.0.1" in capsys.readouterr().err


def test_a_run_in_which_everything_is_skipped_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with http_server(says_nothing) as url:
        assert main([url, "--only", "routers/*"]) == 2
    told = capsys.readouterr()
    assert "--router2" in told.out
    assert "skipped" in told.err


def test_a_target_whose_tokens_were_not_given_cannot_be_judged(capsys: pytest.CaptureFixture[str]) -> None:
    with http_server(lambda *_: (401, b"{}")) as url:
        assert main([url]) == 2
    assert "--admin-token" in capsys.readouterr().err


def test_options_that_are_wrong_are_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = tmp_path / "expected"
    unknown.write_text("no/such-case\n")
    with http_server(says_nothing) as url:
        for argv, named in [
            ([], "http://"),
            (["ftp://x"], "ftp://x"),
            (["http://"], "'http://'"),
            (["http://h:x"], "h:x"),
            ([url, "--worker", "x"], "'x'"),
            ([url, "--only", "no/such*"], "no cases"),
            ([url, "--report", "report.txt"], ".json"),
            ([url, "--only", "listing/*", "--report", str(tmp_path / "none" / "a.json")], "a.json"),
            ([url, "--expect-failures", str(tmp_path / "none")], "none"),
            ([url, "--expect-failures", str(unknown)], "no/such-case"),
        ]:
            assert main(argv) == 2
            assert named in capsys.readouterr().err
        with pytest.raises(SystemExit) as refused:
            main([url, "--nonsense"])
        assert refused.value.code == 2


def test_cases_can_be_listed_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list(CASES.rglob("*.yaml")))


def test_an_expected_failure_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "expected"
    file = tmp_path / "report.json"
    with http_server(says_nothing) as url:
        assert main([url, "--only", "listing/*", "--report", str(file)]) == 1
        lines = json.loads(file.read_text())["cases"]
        failed = [one["name"] for one in lines if one["status"] == "failed"]
        listed.write_text("# known\n" + "".join(f"{name}  # not yet\n" for name in failed))
        assert main([url, "--only", "listing/*", "--expect-failures", str(listed)]) == 0
        assert f"{len(failed)} failed as expected" in capsys.readouterr().out
        listed.write_text("".join(f"{name}\n" for name in failed[1:]))
        assert main([url, "--only", "listing/*", "--expect-failures", str(listed)]) == 1


def test_an_expected_failure_that_passes_is_a_failure(
    running: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "expected"
    listed.write_text("listing/models-are-in-the-order-of-their-ids\n")
    assert main([running.address, "--only", "listing/*"]) == 0
    assert main([running.address, "--only", "listing/*", "--expect-failures", str(listed)]) == 1
    assert "PASSED UNEXPECTEDLY" in capsys.readouterr().out
