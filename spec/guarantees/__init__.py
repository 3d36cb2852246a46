"""What a cluster guarantees, each as a pure function from what is known of a history to what is wrong in it.

A function is named after its guarantee, and the sentence under its name is the guarantee.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from spec.evidence import Evidence, Finding
from spec.guarantees.answers import conflicts_are_real, created_exactly_once, read_your_writes, skipped_was_there
from spec.guarantees.levels import everything_converges
from spec.guarantees.watches import watch_gap_free, watch_ordered, watch_resumable, watch_tells_the_log, watch_unique
from spec.guarantees.workers import acks_tell_the_truth, traffic_is_gated
from spec.guarantees.writes import no_accepted_write_lost, no_ghosts, one_content_per_profile

Guarantee: TypeAlias = Callable[[Evidence], Iterator[Finding]]

GUARANTEES: Mapping[str, Guarantee] = {
    one.__name__.replace("_", "-"): one
    for one in (
        no_accepted_write_lost,
        no_ghosts,
        one_content_per_profile,
        created_exactly_once,
        skipped_was_there,
        conflicts_are_real,
        read_your_writes,
        watch_ordered,
        watch_unique,
        watch_gap_free,
        watch_resumable,
        watch_tells_the_log,
        acks_tell_the_truth,
        traffic_is_gated,
        everything_converges,
    )
}
