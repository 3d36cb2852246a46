"""The whole suite, from outside, against the real thing in each of its arrangements; nothing is skipped in all."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec.case import read_cases
from tests.spec.arrangements import ARRANGEMENTS

# The two that stay meet nearly every case between them.
_SLOW = {"one process", "a router alone", "a cluster on s3", "a cluster on gcs"}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one in _SLOW else ()) for one in ARRANGEMENTS]
)
def test_everything_passes_that_is_for_it(name: str, tmp_path: Path) -> None:
    arrangement = ARRANGEMENTS[name]
    lines = arrangement.judge(tmp_path)
    assert {one.name for one in lines if one.status == "skipped"} == arrangement.skipped()
    assert {one.name for one in lines} == {one.name for one in read_cases()}


def test_no_case_is_skipped_in_all() -> None:
    assert set.intersection(*(set(one.skipped()) for one in ARRANGEMENTS.values())) == set()
