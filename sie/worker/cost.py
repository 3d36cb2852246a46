# Rule: pure. Nothing here awaits or reads a clock.
"""What batches cost one model on this device, as it shows: so much for each, and so much for each of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# How much of what is known of batches of one size the newest of them replaces.
_NEWEST = 0.2
# One that took this many times as long as others of its size, or more, was held up by something else.
_HELD_UP = 4.0


@dataclass(slots=True)
class _Size:
    """Batches of about one size: the means of their padded tokens and of the seconds they took."""

    tokens: float
    seconds: float

    def note(self, tokens: int, seconds: float) -> None:
        seconds = min(seconds, _HELD_UP * self.seconds * tokens / self.tokens)
        self.tokens += _NEWEST * (tokens - self.tokens)
        self.seconds += _NEWEST * (seconds - self.seconds)


class Cost:
    """Learned from each batch that ran. Until two sizes have been seen, all of it is put down to the batch."""

    def __init__(self) -> None:
        self.per_batch_s = 0.0
        self.per_token_s = 0.0
        self._sizes: dict[int, _Size] = {}  # by the bits of their tokens
        self._largest = 0

    def note(self, padded_tokens: int, seconds: float) -> None:
        """A batch of so many tokens, padding included, took so long on the device."""
        if seconds <= 0 or padded_tokens <= 0:
            return
        size = self._sizes.get(padded_tokens.bit_length())
        if size is None:
            self._sizes[padded_tokens.bit_length()] = _Size(padded_tokens, seconds)
        else:
            size.note(padded_tokens, seconds)
        self._largest = max(self._largest, padded_tokens)
        self.per_batch_s, self.per_token_s = _fit(list(self._sizes.values()))

    def seconds(self, padded_tokens: float, batches: float = 1) -> float:
        """What so many tokens in so many batches will take; 0 while nothing is known."""
        return self.per_batch_s * batches + self.per_token_s * padded_tokens

    def tokens(self, seconds: float) -> int:
        """How many a batch may have to take no longer than that; at least 1."""
        left_s = seconds - self.per_batch_s
        return max(1, int(left_s / self.per_token_s)) if self.per_token_s else 1

    @property
    def batch_in_tokens(self) -> float:
        """How many tokens cost as much as one more batch does, whatever is in it."""
        return self.per_batch_s / self.per_token_s if self.per_token_s else 0.0

    def budget(self, ceiling: int, start: int, share: float) -> int:
        """How many padded tokens a batch should have: so many that what each batch costs by itself is `share` of it.

        From `start` on it grows by no more than twice the largest batch seen, so that what is not known yet is tried
        in steps. `share` 0: always `ceiling`, which is never exceeded.
        """
        if share <= 0:
            return ceiling
        steps = max(start, 2 * self._largest)
        if len(self._sizes) < 2:
            return min(ceiling, steps)
        wanted = max(start, self.batch_in_tokens * (1 / share - 1)) if self.per_token_s else ceiling
        return int(min(ceiling, steps, wanted))


def _fit(sizes: Sequence[_Size]) -> tuple[float, float]:
    """The line through them, by least squares of the relative error: both parts at least 0."""
    if len(sizes) == 1:
        return sizes[0].seconds, 0.0
    # seconds = a + b * tokens, each side divided by the seconds: 1 = a * u + b * v.
    us = [1 / one.seconds for one in sizes]
    vs = [one.tokens / one.seconds for one in sizes]
    uu, uv, vv = (sum(x * y for x, y in zip(*both, strict=True)) for both in ((us, us), (us, vs), (vs, vs)))
    u, v = sum(us), sum(vs)
    determinant = uu * vv - uv * uv
    if determinant > 1e-9 * uu * vv:
        a, b = (u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant
        if a >= 0 and b >= 0:
            return a, b
        if b < 0:
            return u / uu, 0.0
    return 0.0, v / vv
