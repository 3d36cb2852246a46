"""What a device does, as a scraper reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from prometheus_client.parser import text_string_to_metric_families

from sie.observe.metrics import ComputeNumbers, exposition
from sie.wire.inference import State
from sie.worker.compute import Compute, ComputeStatistics, ModelStatistics
from sie.worker.counts import Counts
from sie.worker.identity import LoadIdentity


@dataclass
class Busy:
    models: list[ModelStatistics]

    def statistics(self) -> ComputeStatistics:
        return ComputeStatistics(device="cpu", memory_used_bytes=0, memory_budget_bytes=None, models=self.models)


def model(weights: str, length: int, state: State) -> ModelStatistics:
    return ModelStatistics(
        identity=LoadIdentity(
            implementation="a:B",
            weights=weights,
            is_path=False,
            trusted=False,
            revision=None,
            precision=None,
            max_sequence_length=length,
            loadtime_json=b"{}",
        ),
        state=state,
        memory_bytes=100,
        queue_depth=2,
        reason="",
        counts=Counts(batches=1, items=3, tokens=30, padded_tokens=40),
    )


def test_weights_that_are_loaded_in_two_ways_are_one_series() -> None:
    compute = Busy([model("org/a", 128, "loaded"), model("org/a", 256, "available"), model("org/b", 128, "failed")])
    text = exposition(ComputeNumbers(cast("Compute", compute))).decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    keys = [(one.name, *sorted(one.labels.items())) for one in samples]
    assert len(set(keys)) == len(keys)
    shown = {(one.name, one.labels.get("model")): one.value for one in samples}
    assert (shown["sie_model_loaded", "org/a"], shown["sie_model_loaded", "org/b"]) == (1, 0)
    assert shown["sie_model_memory_bytes", "org/a"] == 200
    assert (shown["sie_queue_depth", None], shown["sie_batches_total", None]) == (6, 3)
    assert shown["sie_padding_tokens_total", None] == 30
