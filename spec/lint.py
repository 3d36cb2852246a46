"""What can be wrong with a case though it can be read; and with all of them together."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spec.case import CASES, BadCase, Case, read_cases, requests_of
from spec.clauses import README, Clause, read_clauses
from spec.expect import check_expected
from spec.fill import variables_in
from spec.refusal import BODIES, cure, is_refusal, must_be_cured

_GIVEN = frozenset({"model", "unique", "adapter", "bundle", "admin_token", "auth_token"})
_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")
_SHOULD = re.compile(r"\bshould\b", re.IGNORECASE)


def main(argv: Sequence[str]) -> int:
    """`python -m spec lint`: 0 if the suite is as it must be, 1 if not, each fault on a line."""
    if argv:
        print("usage: python -m spec lint", file=sys.stderr)
        return 2
    faults = [*_stray_files(CASES)]
    cases: Sequence[Case] = ()
    try:
        cases = read_cases()
    except BadCase as bad:
        faults += str(bad).splitlines()
    else:
        faults += lint(cases, read_clauses(README))
    for one in faults:
        print(one)
    print(f"{len(cases)} cases, {len(faults)} faults")
    return 1 if faults else 0


def lint(cases: Sequence[Case], clauses: Sequence[Clause]) -> list[str]:
    """Every fault, as `case: what is wrong`. Pure."""
    return [
        *(f"{case.name}: {fault}" for case in cases for fault in lint_case(case)),
        *_twice("the name {} is taken twice", (one.stem for one in cases)),
        *_twice("two cases show the same: {}", (one.shows for one in cases)),
        *_twice("README.md: {} is there twice", (one.number for one in clauses)),
        *(
            f"README.md: {one.number} says what should be, not what is"
            for one in clauses
            if _SHOULD.search(one.sentence)
        ),
        *(f"README.md: {one.number} is not one sentence" for one in clauses if not one.sentence.endswith(".")),
        *_uncovered(cases, clauses),
    ]


def lint_case(case: Case) -> Iterator[str]:
    """What is wrong with one case by itself. Pure."""
    if not _NAME.fullmatch(case.name):
        yield "must be named folder/what-it-shows, in lower case with hyphens"
    if _SHOULD.search(case.shows):
        yield "`shows` says what should be, not what is"
    if not any(_expects(step) for step in case.steps):
        yield "expects nothing, so it cannot fail"
    if sum("restart" in step for step in case.steps) > 1:
        yield "restarts the target twice, and shares one restart with other cases"
    yield from _missing_needs(case)
    known = set(_GIVEN)
    subjects: set[str] = set()
    for number, step in enumerate(case.steps, 1):
        at = f"step {number}"
        for name in sorted(set(variables_in(_used(step))) - known):
            yield f"{at}: ${name} is not set before"
        known |= set(_saved(step))
        subjects |= set(step.get("subscribe", ()))
        heard = step.get("heard") or step.get("unheard")
        if heard and heard["on"] not in subjects:
            yield f"{at}: listens on {heard['on']} without a `subscribe` before"
        for fault in _bad_expectations(step):
            yield f"{at}: {fault}"
        for request in requests_of(step):
            for fault in _bad_request(request):
                yield f"{at}: {fault}"


def _bad_request(request: Mapping[str, Any]) -> Iterator[str]:
    if len(request.keys() & BODIES) > 1:
        yield "has more than one body"
    if must_be_cured(request) and "cured" not in request:
        yield "is refused and has no `cured`: another fault could hide behind the one"
    if "cured" in request:
        if not is_refusal(request):
            yield "has `cured`, and is no POST to the models that is refused"
        elif json.dumps(cure(request), sort_keys=True) == json.dumps(request, sort_keys=True):
            yield "is the same when it is cured"
    try:
        re.compile(request.get("until", ""))
    except re.error as fault:
        yield f"`until` is no pattern: {fault}"


def _bad_expectations(step: Mapping[str, Any]) -> Iterator[str]:
    answers = [one.get("expect", {}) for one in requests_of(step)]
    said = [step.get(verb, {}) for verb in ("heard", "unheard", "status")]
    for expected in (*answers, *(one for one in said if isinstance(one, dict))):
        for part, wanted in expected.items():
            if part == "text" and isinstance(wanted, dict) and "matches" in wanted:
                yield from check_expected({"$matches": wanted["matches"]})
            elif part == "headers":
                yield from (fault for one in wanted.values() for fault in check_expected(one))
            elif part in ("status", "json", "yaml"):
                yield from check_expected(wanted)
    yield from check_expected(step.get("expect_statuses"))


def _missing_needs(case: Case) -> Iterator[str]:
    uses: dict[str, str] = {}
    for step in case.steps:
        if step.keys() & {"subscribe", "heard", "unheard"}:
            uses["nats"] = "listens on NATS"
        if "status" in step:
            uses["worker"] = "reads a worker's status"
        if "restart" in step and "durable" not in case.needs:
            uses["restart"] = "restarts the target"
        for request in requests_of(step):
            if request.get("on") == "router2":
                uses["two-routers"] = "asks a second router"
            if request.get("as") == "reader" and "post" in request and "open" not in case.needs:
                uses["reader-token"] = "shows the reader's token"
    for need, does in uses.items():
        if need not in case.needs:
            yield f"{does}, and does not say `needs: [{need}]`"


def _uncovered(cases: Sequence[Case], clauses: Sequence[Clause]) -> Iterator[str]:
    have = {one.number for one in clauses}
    covered = {one.clause for one in cases}
    for case in cases:
        if case.clause not in have:
            yield f"{case.name}: README.md has no clause {case.clause}"
    for number in sorted(have - covered):
        yield f"README.md: no case is about {number}"


def _used(step: Mapping[str, Any]) -> Any:
    """A step without what it sets."""
    return {key: value for key, value in step.items() if key != "save"}


def _saved(step: Mapping[str, Any]) -> Iterator[str]:
    yield from step.get("save", {})
    for request in requests_of(step):
        yield from request.get("save", {})
    if "bundle_hash" in step:
        yield step["bundle_hash"]["save"]


def _expects(step: Mapping[str, Any]) -> bool:
    if step.keys() & {"heard", "unheard", "status", "repeat_until", "expect_statuses"}:
        return True
    return any("expect" in one for one in requests_of(step))


def _twice(words: str, values: Iterable[str]) -> Iterator[str]:
    yield from (words.format(value) for value, number in Counter(values).items() if number > 1)


def _stray_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".yaml":
            yield f"{path.relative_to(folder)}: is no .yaml file, so nobody reads it"
