"""The numbers a scraper reads, taken from the engine at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from sie.router.plane import ConfigPlane
    from sie.worker.compute import Compute


def exposition(plane: ConfigPlane) -> bytes:
    """Prometheus text of a router or engine. Names are SIE v0.1.10's where it has them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_PlaneNumbers(plane))
    if plane.local_compute is not None:
        registry.register(ComputeNumbers(plane.local_compute))
    return generate_latest(registry)


class _PlaneNumbers(Collector):
    def __init__(self, plane: ConfigPlane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        plane = self._plane
        yield GaugeMetricFamily("sie_config_revision", "Newest entry in this catalog", value=plane.head.revision)
        applied = GaugeMetricFamily("sie_config_applied_revision", "Complete up to here", labels=["worker", "bundle"])
        for worker in plane.fleet.workers:
            applied.add_metric([worker.key, worker.bundle], worker.revision)
        yield applied


class ComputeNumbers(Collector):
    """What a device does, for the process that has one."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def collect(self) -> Iterator[Metric]:
        load = self._compute.statistics()
        loaded = GaugeMetricFamily("sie_model_loaded", "1 while resident", labels=["model", "device"])
        memory = GaugeMetricFamily("sie_model_memory_bytes", "Weights on the device", labels=["model", "device"])
        for one in load.models:
            name = one.identity.weights
            loaded.add_metric([name, load.device], float(one.state == "loaded"))
            memory.add_metric([name, load.device], one.memory_bytes)
        yield loaded
        yield memory
        yield GaugeMetricFamily("sie_queue_depth", "Items waiting or running", value=load.queue_depth)
        counts = [one.counts for one in load.models]
        yield CounterMetricFamily("sie_batches", "Batches run", value=sum(one.batches for one in counts))
        yield CounterMetricFamily("sie_batch_items", "Items in them", value=sum(one.items for one in counts))
        yield CounterMetricFamily(
            "sie_tokens_processed", "Tokens, padding not counted", value=sum(one.tokens for one in counts)
        )
        yield CounterMetricFamily(
            "sie_padding_tokens",
            "Tokens of padding run beside them",
            value=sum(one.padded_tokens - one.tokens for one in counts),
        )
