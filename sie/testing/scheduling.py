# Rule: the one place that depends on names inside trio; checked when it is imported.
"""Trio's choice of who runs next, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from trio._core import _run as scheduler

assert hasattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING"), "this trio cannot be made to schedule repeatably"
assert isinstance(scheduler._r, random.Random), "this trio cannot be made to schedule repeatably"


@contextmanager
def same_order(seed: float) -> Iterator[None]:
    """Within the block, tasks that can run at one moment run in an order that the seed alone decides: a shuffle of
    their ages, as Trio does it under Hypothesis. What Trio draws outside is as it would have been."""
    outside = scheduler._r.getstate()
    scheduler._r.seed(seed)
    try:
        with mock.patch.object(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True):
            yield
    finally:
        scheduler._r.setstate(outside)
