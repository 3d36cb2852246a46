"""Each known way to lose, planted in our own code, is seen by a clause of the suite or by a test that is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from spec.__main__ import main
from spec.report import Line, read_report
from tests.marks import between
from tests.planted import table
from tests.planted.mutations import MUTATIONS
from tests.processes import Served

ROOT = Path(__file__).parents[2]

# The cases of the suite that are tried: what a document may say, whom it names, and what becomes of it.
TRIED = ("adding/*", "appending/*", "ids/*", "values/*")

# As a test says that it has seen something; a patch that does not fit the code any more fails in other words.
SEEN = re.compile(r"assert |DID NOT RAISE|TooSlowError|sie\.errors\.|StoreUnavailable\(")

# One of a kind, in every run; all of them in the slow one.
EACH_TIME = frozenset(
    {
        "a-parent-may-have-a-parent",
        "an-announced-entry-is-not-looked-into",
        "an-answer-needs-no-seal",
        "an-old-epoch-that-is-no-number-ends-all-writing",
        "half-an-entry-is-the-end-of-the-log",
        "ids-that-differ-in-case-are-two-models",
        "the-newest-of-ids-that-differ-in-case-is-found",
        "what-is-no-json-is-taken-as-text",
    }
)


def planted(names: Sequence[str]) -> Sequence[object]:
    return [pytest.param(one, marks=() if one in EACH_TIME else pytest.mark.slow) for one in names]


# -- by the suite


def broken(url: str, folder: Path) -> set[str]:
    """The clauses that this target fails."""
    return {one.clause for one in judged(url, folder) if one.wrong}


def judged(url: str, folder: Path) -> Sequence[Line]:
    report = folder / "report.json"
    main([url, *(f"--only={one}" for one in TRIED), "--report", str(report)])
    return read_report(report.read_text()).lines


@contextmanager
def serving(name: str, folder: Path) -> Iterator[str]:
    """`sie serve` with this planted in it, on a free port. Its URL."""
    command = [sys.executable, "-m", "tests.planted", name, "serve", "--host", "127.0.0.1", "--port", "0"]
    clean = {variable: value for variable, value in os.environ.items() if not variable.startswith("SIE_")}
    log = folder / "log"
    with (
        log.open("w") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT, env=clean) as process,
    ):
        try:
            assert process.stdout is not None
            found = next((url for line in process.stdout if (url := re.search(r"serving at (\S+)", line))), None)
            assert found is not None, log.read_text()
            yield found[1]
        finally:
            process.kill()


def test_with_nothing_planted_every_case_that_is_tried_passes(running: Served, tmp_path: Path) -> None:
    lines = judged(running.address, tmp_path)
    assert {one.status for one in lines} == {"passed"}
    assert {clause for one in MUTATIONS.values() for clause in one.clauses} <= {one.clause for one in lines}


@pytest.mark.parametrize("name", planted([name for name, one in MUTATIONS.items() if one.clauses]))
def test_the_suite_sees_it(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as url:
        assert broken(url, tmp_path) == MUTATIONS[name].clauses


# -- by a test of this project


def run_test(name: str) -> subprocess.CompletedProcess[str]:
    """The test that is to see it, with it planted."""
    # Without the plugins that merely happen to be installed: half of the time is their import.
    plugins = ("pytest_trio.plugin", "pytest_timeout", "tests.planted.planting")
    options = [*(f"-p{one}" for one in plugins), "-pno:cacheprovider", "--plant", name, "--tb=no", "-rfE"]
    clean = {variable: value for variable, value in os.environ.items() if not variable.startswith(("SIE_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, MUTATIONS[name].test],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**clean, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "1000"},  # or reasons are cut short
        check=False,
    )


@pytest.mark.parametrize("name", planted([name for name, one in MUTATIONS.items() if one.test]))
def test_a_test_sees_it(name: str) -> None:
    done = run_test(name)
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert told
    for line in told:
        assert line.startswith(f"FAILED {MUTATIONS[name].test}"), line
        assert SEEN.search(line.partition(" - ")[2]), line


# -- and what is written of them


def test_each_is_seen_in_one_way() -> None:
    assert all(bool(one.clauses) != bool(one.test) for one in MUTATIONS.values())


def test_what_is_planted_here_is_what_the_readme_says() -> None:
    assert between("planted") == table.rows()
