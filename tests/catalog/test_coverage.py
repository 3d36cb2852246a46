"""Coverage: nothing counts as known that was not heard or read, whatever the order; no word is believed for ever."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sie.catalog import coverage as module
from sie.catalog.coverage import Coverage
from sie.catalog.entry import Entry
from tests.catalog.made import DENSE, entry


def one(revision: int) -> Entry:
    return entry("a/b", revision, profiles={f"p{revision}": {"adapter_path": DENSE}})


def numbers(entries: Sequence[Entry]) -> list[int]:
    return [each.revision for each in entries]


@given(data=st.data())
def test_however_entries_come_each_is_given_out_once_in_order_and_none_past_a_gap(data: st.DataObject) -> None:
    revisions = data.draw(st.lists(st.integers(1, 60), unique=True, max_size=12).map(sorted))
    before = dict(zip(revisions, [0, *revisions], strict=False))
    heard = data.draw(st.permutations(revisions + data.draw(st.lists(st.sampled_from(revisions or [1]), max_size=4))))
    covered, out, come = Coverage(), [], set[int]()
    for revision in heard:
        if revision not in before:
            continue
        come.add(revision)
        out += numbers(covered.heard(one(revision), before[revision]))
        level = [each for at, each in enumerate(revisions) if come >= set(revisions[: at + 1])]
        assert out == level
        assert covered.complete_to == (level[-1] if level else 0)
        assert covered.gap == (come != set(level))
    assert out == revisions
    assert not covered.gap


@given(data=st.data())
def test_readings_between_give_nothing_twice_and_never_step_back(data: st.DataObject) -> None:
    covered, newest, out = Coverage(), 30, list[int]()
    heard = data.draw(st.permutations(range(1, newest + 1)))
    for revision in heard:
        out += numbers(covered.heard(one(revision), revision - 1))
        if data.draw(st.booleans()):
            # A reading is of all there is up to some revision; a router may lag, so it may be of less.
            to = data.draw(st.integers(0, newest))
            was = covered.complete_to
            out += numbers(covered.read_to(to))
            assert covered.complete_to >= max(was, to)
    assert out == sorted(set(out))  # each once, in order; what is not there was read
    covered.read_to(newest)
    assert (covered.complete_to, covered.gap) == (newest, False)


def test_one_that_begins_further_on_has_no_gap() -> None:
    covered = Coverage(7)
    assert numbers(covered.heard(one(9), 7)) == [9]
    assert covered.heard(one(8), 7) == ()
    assert covered.heard(one(9), 8) == ()
    assert (covered.complete_to, covered.gap) == (9, False)


def test_what_waits_past_a_gap_follows_whatever_closes_it() -> None:
    covered = Coverage(1)
    assert covered.heard(one(5), 3) == []
    assert covered.heard(one(7), 5) == []
    assert covered.heard(one(12), 9) == []
    assert covered.gap
    assert numbers(covered.read_to(3)) == [5, 7]
    assert (covered.complete_to, covered.gap) == (7, True)
    assert numbers(covered.heard(one(9), 7)) == [9, 12]
    assert (covered.complete_to, covered.gap) == (12, False)


def test_its_own_forerunner_is_complete_only_by_a_reading() -> None:
    """An entry that brings a model into the bundle: the entries before it were never heard here."""
    covered = Coverage(2)
    assert covered.heard(one(4), 4) == []
    assert (covered.complete_to, covered.gap) == (2, True)
    assert covered.read_to(2) == []
    assert covered.gap
    assert covered.read_to(4) == []  # read, with all that came before it
    assert (covered.complete_to, covered.gap) == (4, False)


def test_what_follows_its_own_forerunner_waits_with_it() -> None:
    covered = Coverage(2)
    covered.heard(one(4), 4)
    assert covered.heard(one(6), 4) == []
    assert numbers(covered.read_to(5)) == [6]
    assert (covered.complete_to, covered.gap) == (6, False)


def test_being_told_of_a_number_is_a_gap_until_it_is_known() -> None:
    covered = Coverage(3)
    for known in (1, 3):
        covered.told(known)
        assert not covered.gap
    covered.told(6)
    covered.told(5)
    assert covered.gap
    assert numbers(covered.heard(one(5), 3)) == [5]
    assert covered.gap
    assert numbers(covered.heard(one(6), 5)) == [6]
    assert (covered.complete_to, covered.gap) == (6, False)
    covered.told(9)
    assert covered.read_to(9) == []
    assert (covered.complete_to, covered.gap) == (9, False)


@pytest.mark.parametrize("forged", ["heard", "told", "self"])
def test_a_forged_word_is_dropped_after_three_readings_that_found_nothing_of_it(forged: str) -> None:
    covered = Coverage(5)
    if forged == "told":
        covered.told(10**9)
    else:
        covered.heard(one(10**9), 10**9 if forged == "self" else 10**8)
    for _ in range(2):
        assert covered.read_to(5) == []
        assert covered.gap
    assert covered.read_to(5) == []
    assert (covered.complete_to, covered.gap) == (5, False)
    assert numbers(covered.heard(one(6), 5)) == [6]
    covered.told(7)
    assert covered.gap  # the next word is believed anew


def test_readings_that_find_something_cost_a_word_no_belief() -> None:
    """A router far behind catches up step by step, and the word is true."""
    covered = Coverage()
    covered.heard(one(100), 99)
    for to in range(1, 20):
        covered.read_to(to)
        assert covered.gap
    for _ in range(2):
        covered.read_to(19)
    covered.read_to(20)
    for _ in range(2):
        covered.read_to(20)
        assert covered.gap
    assert numbers(covered.read_to(99)) == [100]
    assert not covered.gap


def test_what_is_kept_past_a_gap_is_bounded_and_more_is_a_gap_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_MOST", 10)
    covered = Coverage()
    for revision in range(2, 50):
        assert not covered.heard(one(revision), revision - 1)
    assert len(covered._later) == 10
    assert numbers(covered.heard(one(1), 0)) == list(range(1, 12))
    assert (covered.complete_to, covered.gap) == (11, True)  # told of 49, which it did not keep
    assert covered.read_to(49) == []
    assert (covered.complete_to, covered.gap) == (49, False)


def test_what_comes_next_is_taken_however_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_MOST", 3)
    covered = Coverage()
    for revision in (10, 20, 30):
        covered.heard(one(revision), revision - 1)
    for revision in range(1, 10):
        assert revision in numbers(covered.heard(one(revision), revision - 1))
    assert covered.complete_to == 10
