"""Many cases against one target, in threads, within a time that is known before."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spec.case import Case
from spec.play import Failed, Play, Skipped
from spec.restart import MOST_S, Restart
from spec.target import Target

RUN_S = 30.0  # one target, whatever it does
REPORT_S = 3.0  # of that, for what comes after the cases
_CASE_SHARE = 2 / 3  # of the time of the run, for one case: a stuck one must be told before all is over
_LATE_S = 0.5  # for the cases that end at the deadline themselves
_THREADS = 32  # fewer, and a target that waits 3 s for every POST takes minutes; more, and its own queue is judged

Status = Literal["passed", "failed", "skipped", "failed as expected", "passed unexpectedly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case. `reason`: why it was skipped. The last three: of a failure, secrets hidden."""

    case: Case
    status: Status
    seconds: float = 0.0
    reason: str = ""
    doing: str = ""
    expected: str = ""
    actual: str = ""

    @property
    def wrong(self) -> bool:
        return self.status in ("failed", "passed unexpectedly")


@dataclass(frozen=True, slots=True)
class _Run:
    """`deadline` by time.monotonic(); `case_s`: the most that one case takes."""

    target: Target
    run_id: str
    deadline: float
    case_s: float


def judge_target(
    target: Target, cases: Sequence[Case], *, deadline: float, expected_failures: Collection[str] = ()
) -> Iterator[Outcome]:
    """The outcome of every case, as they end. `deadline`, by time.monotonic(), is moved by what restarts take."""
    run = _Run(target, secrets.token_hex(4), deadline, (deadline - time.monotonic()) * _CASE_SHARE)
    able: list[Case] = []
    for case in cases:
        why = "; ".join(why for need in case.needs if (why := target.lacks(need)))
        if why:
            yield Outcome(case=case, status="skipped", reason=why)
        else:
            able.append(case)
    restarting = [one for one in able if one.restarts]
    phases = [[one for one in able if not one.alone], *([one] for one in able if one.alone and not one.restarts)]
    for phase in phases:
        for outcome in _play_all(run, phase):
            yield _as_expected(outcome, expected_failures)
    restart = Restart(target.addresses.restart or "", len(restarting))
    for outcome in _play_all(run, restarting, restart):
        yield _as_expected(outcome, expected_failures)


def _as_expected(outcome: Outcome, expected_failures: Collection[str]) -> Outcome:
    if outcome.case.name not in expected_failures:
        return outcome
    if outcome.status == "failed":
        return replace(outcome, status="failed as expected")
    if outcome.status == "passed":
        return replace(outcome, status="passed unexpectedly", reason="it is listed as an expected failure")
    return outcome


def _play_all(run: _Run, cases: Sequence[Case], restart: Restart | None = None) -> Iterator[Outcome]:
    """Threads are left behind at the deadline, not waited for: an answer may be endless to parse."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)

    def work() -> None:
        while True:
            try:
                case = waiting.get_nowait()
            except queue.Empty:
                return
            done.put(_play(run, case, restart))

    # Cases that share a restart wait for each other, so each has a thread.
    for _ in range(len(cases) if restart else min(_THREADS, len(cases))):
        threading.Thread(target=work, daemon=True).start()
    missing = {one.name: one for one in cases}
    latest = run.deadline + _LATE_S + (MOST_S if restart else 0)
    while missing:
        try:
            outcome = done.get(timeout=max(0.0, latest - time.monotonic()))
        except queue.Empty:
            break
        if missing.pop(outcome.case.name, None):
            yield outcome
    for case in missing.values():
        yield _out_of_time(case)


def _play(run: _Run, case: Case, restart: Restart | None) -> Outcome:
    began = time.monotonic()
    play = Play(case, run.target, min(run.deadline, began + run.case_s), run.run_id, restart)
    status: Status = "passed"
    reason, failure = "", ("", "", "")
    try:
        play.run()
    except Skipped as why:
        status, reason = "skipped", str(why)
    except Failed as failed:
        status, failure = "failed", (failed.doing, failed.expected, failed.actual)
    except Exception as fault:  # an answer so odd that reading it failed; one case must not end the run
        status, failure = "failed", ("reading what came", "something readable", f"{type(fault).__name__}: {fault}")
    finally:
        if play.restart is not None:
            play.restart.leave()
    doing, expected, actual = (_hidden(text, run.target) for text in failure)
    return Outcome(
        case=case,
        status=status,
        seconds=time.monotonic() - began,
        reason=reason,
        doing=doing,
        expected=expected,
        actual=actual,
    )


def _hidden(text: str, target: Target) -> str:
    for secret, name in target.addresses.secrets().items():
        text = text.replace(secret, name)
    return text


def _out_of_time(case: Case) -> Outcome:
    return Outcome(
        case=case,
        status="failed",
        doing="judging it",
        expected="an end within the time of the run",
        actual="none; --within gives it more",
    )
