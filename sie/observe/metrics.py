"""The numbers a scraper reads, taken at the moment of the scrape. Names are SIE v0.1.10's where it has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from sie.bus.nats import BusStatistics
    from sie.worker.compute import Compute, ModelStatistics


def exposition(*collectors: Collector) -> bytes:
    """Prometheus text of all of them."""
    registry = CollectorRegistry(auto_describe=False)
    for one in collectors:
        registry.register(one)
    return generate_latest(registry)


def gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    """One that has no labels."""
    return GaugeMetricFamily(name, said, value=value)


def counter(name: str, said: str, value: float) -> CounterMetricFamily:
    """One that has no labels; `_total` is added to the name."""
    return CounterMetricFamily(name, said, value=value)


def counters(name: str, said: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """One of each value of a label."""
    family = CounterMetricFamily(name, said, labels=[label])
    for one, value in values.items():
        family.add_metric([one], value)
    return family


def bus_numbers(heard: BusStatistics) -> Iterable[Metric]:
    """What a process hears of NATS."""
    return (
        gauge("sie_bus_connected", "1 while NATS is", float(heard.connection.connected)),
        counter("sie_bus_connections", "Connections made", heard.connection.count),
        counter("sie_bus_received", "Messages on the config subjects", heard.received),
        counters("sie_bus_ignored", "Those of no use", "reason", heard.ignored),
    )


class ComputeNumbers(Collector):
    """What a device does, for the process that has one."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def collect(self) -> Iterator[Metric]:
        load = self._compute.statistics()
        loaded = GaugeMetricFamily("sie_model_loaded", "1 while resident", labels=["model", "device"])
        memory = GaugeMetricFamily("sie_model_memory_bytes", "Weights on the device", labels=["model", "device"])
        # The same weights may be loaded in several ways, and no series may be there twice.
        by_weights: dict[str, list[ModelStatistics]] = {}
        for one in load.models:
            by_weights.setdefault(one.identity.weights, []).append(one)
        for name, ways in by_weights.items():
            loaded.add_metric([name, load.device], float(any(one.state == "loaded" for one in ways)))
            memory.add_metric([name, load.device], sum(one.memory_bytes for one in ways))
        yield loaded
        yield memory
        yield gauge("sie_queue_depth", "Items waiting or running", load.queue_depth)
        counts = [one.counts for one in load.models]
        yield counter("sie_batches", "Batches run", sum(one.batches for one in counts))
        yield counter("sie_batch_items", "Items in them", sum(one.items for one in counts))
        yield counter("sie_batch_seconds", "Seconds the device took for them", sum(one.run_s for one in counts))
        yield counter("sie_tokens_processed", "Tokens, padding not counted", sum(one.tokens for one in counts))
        padding = sum(one.padded_tokens - one.tokens for one in counts)
        yield counter("sie_padding_tokens", "Tokens of padding run beside them", padding)
