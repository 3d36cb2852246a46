"""The suite bites: each departure from the page makes the cases fail that are about what it breaks, and no others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from spec.__main__ import main
from spec.case import METHODS, Case, read_cases, requests_of
from spec.report import Line, read_report
from tests.processes import Served, sie_serve
from tests.spec import departing
from tests.spec.arrangements import TOKENS, WITH_TOKENS
from tests.spec.departing import MODELS, Departure


@pytest.fixture(scope="module")
def upstream() -> Iterator[Served]:
    with sie_serve(environment=TOKENS) as served:
        yield served


def judge(departure: Departure, upstream: Served, folder: Path, *options: str) -> Sequence[Line]:
    """The cases that were not skipped."""
    file = folder / "report.json"
    with departing.departing(upstream.address, departure) as url:
        main([url, *WITH_TOKENS, "--report", str(file), *options])
    return [one for one in read_report(file.read_text()).lines if one.status != "skipped"]


FEW: list[tuple[Departure, set[str]]] = [
    (departing.no_departure, set()),
    (departing.pending_until_all_have_confirmed, {"C-102"}),
    (departing.a_default_without_its_options_conflicts, {"C-040"}),
]
MORE: list[tuple[Departure, set[str]]] = [
    (departing.a_repeat_has_no_counts, {"C-101", "C-106"}),
    (departing.a_shipped_model_is_three_keys, {"C-065"}),
    (departing.readers_may_write(TOKENS["SIE_ADMIN_TOKEN"]), {"C-175", "X-013", "X-103"}),
    (departing.an_append_erases_what_it_leaves_out, {"C-022"}),
    (departing.everything_is_from_the_filesystem, {"C-062"}),
    (departing.keys_are_ignored, {"X-090", "X-091", "X-092", "X-094"}),
    (departing.a_rehearsal_creates, {"X-093", "X-100", "X-102"}),
]


@pytest.mark.parametrize(
    ("departure", "broken"),
    [*FEW, *(pytest.param(*one, marks=pytest.mark.slow) for one in MORE)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_departure_breaks_few_clauses(
    departure: Departure, broken: set[str], upstream: Served, tmp_path: Path
) -> None:
    failed = [one for one in judge(departure, upstream, tmp_path) if one.wrong]
    assert {one.clause for one in failed} == broken, [f"{one.clause} {one.name}" for one in failed]


def adds(request: Mapping[str, Any]) -> bool:
    return bool(request.get("post", "").partition("?")[0] == MODELS)


def wants_conflicts(case: Case) -> bool:
    """Whether it has a POST to the models that only 409 is right for."""
    told = [one.get("expect", {}).get("status") for step in case.steps for one in requests_of(step) if adds(one)]
    return 409 in told or any("409" in str(step.get("expect_statuses")) for step in case.steps)


def reads_errors(case: Case) -> bool:
    """Whether it looks into what a config route says with an error, elsewhere than under `detail`."""
    for step in case.steps:
        for one in requests_of(step):
            target = next(str(one[verb]) for verb in METHODS if verb in one)
            expect = one.get("expect", {})
            refused = any(str(status) in str(expect.get("status")) for status in range(400, 600))
            of_config = (
                target.startswith("/v1/configs") and "/watch" not in target
            )  # streams pass the proxy as they are
            if of_config and refused and expect.get("json", {}).keys() - {"detail"}:
                return True
    return False


def wants_parse_errors(case: Case) -> bool:
    """Whether it has a POST to the models that only 400 is right for."""
    return any(
        adds(one) and one.get("expect", {}).get("status") == 400 for step in case.steps for one in requests_of(step)
    )


MANY = [
    (departing.errors_are_wrapped, reads_errors),
    pytest.param(departing.another_content_is_422, wants_conflicts, marks=pytest.mark.slow),
    pytest.param(departing.broken_yaml_is_422, wants_parse_errors, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("departure", "is_about"), MANY, ids=lambda value: getattr(value, "__name__", ""))
def test_a_departure_breaks_just_the_cases_that_look_at_it(
    departure: Departure, is_about: Callable[[Case], bool], upstream: Served, tmp_path: Path
) -> None:
    judged = judge(departure, upstream, tmp_path)
    about = {one.name for one in read_cases() if is_about(one)} & {one.name for one in judged}
    assert {one.name for one in judged if one.wrong} == about
    assert len(about) > 10


@pytest.mark.slow  # half a minute, and then twice that
def test_a_target_that_always_takes_three_seconds_is_judged_in_time_and_whole_if_given_more(
    upstream: Served, tmp_path: Path
) -> None:
    late = departing.every_change_takes_three_seconds
    began = time.monotonic()
    assert judge(late, upstream, tmp_path)
    assert time.monotonic() - began < 30
    assert [one.name for one in judge(late, upstream, tmp_path, "--within", "120") if one.wrong] == []
