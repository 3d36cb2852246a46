"""When requests come and what they bring: by chance, and the same again by the same seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tokenizers import Tokenizer

from bench.load.arrivals import WORKLOADS, poisson
from bench.texts import DIRECTORY, text, words


def test_requests_come_at_the_rate_and_know_nothing_of_each_other() -> None:
    times = poisson(200, 50, random.Random(1))
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 50
    # Poisson's: as many in a second vary by as much as there are.
    counts = Counter(int(one) for one in times)
    mean = sum(counts.values()) / 50
    variance = sum((counts[second] - mean) ** 2 for second in range(50)) / 50
    assert 0.5 < variance / mean < 2


def test_the_same_seed_gives_the_same_times() -> None:
    assert poisson(100, 1, random.Random(5)) == poisson(100, 1, random.Random(5))
    assert poisson(100, 1, random.Random(5)) != poisson(100, 1, random.Random(6))


def test_lengths_are_drawn_as_often_as_they_weigh() -> None:
    counts = Counter(WORKLOADS["bimodal"].drawn(5000, random.Random(1)))
    assert set(counts) == {16, 200}
    assert counts[200] / 5000 == pytest.approx(0.1, abs=0.02)
    assert WORKLOADS["bimodal"].said == "90% of 16 tokens, 10% of 200 tokens"


@pytest.mark.parametrize("length", [16, 128, 200])
def test_a_text_has_as_many_tokens_as_it_is_said_to_have(length: int) -> None:
    tokenizer = Tokenizer.from_file(str(DIRECTORY / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    known, chance = words(), random.Random(1)
    assert {len(tokenizer.encode(text(length, known, chance)).ids) for _ in range(50)} == {length}
