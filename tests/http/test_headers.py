"""Headers of inference requests."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from sie.errors import InvalidInput
from sie.http.headers import check_machine_profile, prefer_wait, timeout_s


@pytest.mark.parametrize(
    ("sent", "granted"),
    [
        ([], None),
        (["wait=30"], 30.0),
        (["respond-async, wait=10"], 10.0),
        (["respond-async; wait=10"], 10.0),
        (["respond-async", "Wait = 7"], 7.0),
        (['wait="5"'], 5.0),
        (["wait=1000"], 60.0),
        (["wait=999999999"], 60.0),
        (["wait=0"], 0.0),
        (["wait=5, wait=9"], 5.0),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait"], None),
        (["wait="], None),
        (["await=3"], None),
        (["wait=" + "9" * 5_000], None),
        (["\x00\xff;;=,"], None),
    ],
)
def test_prefer_wait_is_capped_and_other_preferences_are_ignored(sent: list[str], granted: float | None) -> None:
    assert prefer_wait(Headers([("Prefer", one) for one in sent]), 60.0) == granted


@pytest.mark.parametrize(("sent", "seconds"), [(None, None), ("1500", 1.5), ("0.5", 0.0005), (" 20 ", 0.02)])
def test_a_requests_own_time_is_in_milliseconds(sent: str | None, seconds: float | None) -> None:
    assert timeout_s(Headers({} if sent is None else {"X-SIE-Timeout-Ms": sent})) == seconds


@pytest.mark.parametrize("sent", ["", "0", "-5", "soon", "nan", "inf", "1e999", "5 s"])
def test_a_time_that_is_none_is_refused(sent: str) -> None:
    with pytest.raises(InvalidInput):
        timeout_s(Headers({"X-SIE-Timeout-Ms": sent}))


@pytest.mark.parametrize(
    ("identity", "asked"),
    [("l4", "l4"), ("l4", " L4 "), ("l4", "l4-spot"), ("l4-spot", "l4"), ("L4-Spot", "l4-spot"), ("l4", "pool/l4")],
)
def test_a_request_for_this_machine_is_taken(identity: str, asked: str) -> None:
    check_machine_profile(Headers({"X-SIE-MACHINE-PROFILE": asked}), identity)


@pytest.mark.parametrize(
    ("identity", "asked"), [("l4", "l40s"), ("l4", "h100"), ("", "l4"), ("l4", ""), ("l4", "l4/x")]
)
def test_a_request_for_another_machine_is_refused_with_both_names(identity: str, asked: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_machine_profile(Headers({"X-SIE-MACHINE-PROFILE": asked}), identity)
    assert caught.value.fields == {"requested_profile": asked, "worker_identity": identity}


def test_a_request_that_names_no_machine_may_go_anywhere() -> None:
    check_machine_profile(Headers(), "l4")
    check_machine_profile(Headers(), "")
