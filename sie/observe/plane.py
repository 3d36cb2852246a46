"""The numbers of a config plane: its store, writer, bus, fleet and watch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sie.bus.joined import JoinedBus
from sie.observe.metrics import ComputeNumbers, bus_numbers, counter, counters, gauge

if TYPE_CHECKING:
    from sie.router.plane import ConfigPlane


def plane_numbers(plane: ConfigPlane) -> Iterable[Collector]:
    """What a router or engine shows."""
    yield _PlaneNumbers(plane)
    yield _FleetNumbers(plane)
    if plane.local_compute is not None:
        yield ComputeNumbers(plane.local_compute)


class _PlaneNumbers(Collector):
    def __init__(self, plane: ConfigPlane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        head = self._plane.head
        yield gauge("sie_config_revision", "Newest entry in this catalog", head.revision)
        yield gauge("sie_config_conflicts", "Entries that contradict others", len(head.catalog.conflicts))
        yield gauge(
            "sie_config_differing_files", "Model files that the log overrules", len(head.catalog.differing_files)
        )
        yield gauge("sie_config_store_trouble", "1 while the store cannot be used", float(head.trouble is not None))
        yield gauge("sie_config_store_read", "1 once the store was read whole", float(head.folded))
        yield from self._writer()
        yield from self._bus()
        watch = self._plane.watch.statistics()
        yield gauge("sie_watch_watchers", "Those who watch now", watch.watchers)
        yield counter("sie_watch_dropped", "Watchers dropped for falling behind", watch.dropped)
        yield gauge("sie_watch_kept_bytes", "Entries kept for them", watch.kept_bytes)
        yield gauge("sie_watch_oldest_revision", "What one may resume from", watch.since)

    def _writer(self) -> Iterator[Metric]:
        done = self._plane.writer.statistics()
        yield gauge("sie_config_orders_waiting", "Changes queued at the writer", done.waiting)
        yield counters("sie_config_orders", "Changes settled, by outcome", "outcome", done.orders)
        yield HistogramMetricFamily(
            "sie_config_commit_seconds",
            "From the writer's taking of a change to its being durable and told",
            buckets=done.commits.buckets(),
            sum_value=done.commits.sum_s,
        )
        yield counters("sie_config_answers", "Answered changes, by the workers' word", "acks", done.answers)

    def _bus(self) -> Iterator[Metric]:
        bus = self._plane.writer.bus
        if isinstance(bus, JoinedBus):
            yield from bus_numbers(bus.heard())
            yield counter("sie_bus_published", "Changes told at once", bus.published)
            yield counter("sie_bus_publish_failures", "Changes that were not", bus.refused)


class _FleetNumbers(Collector):
    def __init__(self, plane: ConfigPlane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        head, workers = self._plane.head, self._plane.workers()
        bundles, place = ["worker", "bundle"], ["worker", "machine_profile", "bundle"]
        applied = GaugeMetricFamily("sie_config_applied_revision", "Complete up to here", labels=bundles)
        behind = GaugeMetricFamily("sie_config_behind", "1 while it lacks an entry of its bundle", labels=bundles)
        nacks = GaugeMetricFamily("sie_config_nacks", "Profiles not taken on", labels=bundles)
        depth = GaugeMetricFamily("sie_router_worker_queue_depth", "Items waiting there", labels=place)
        memory = GaugeMetricFamily("sie_router_worker_memory_used_bytes", "On its device", labels=place)
        for one in workers:
            labels = [one.key, one.bundle]
            nacks.add_metric(labels, len(one.nacks) + one.nacks_left_out)
            if not one.by_hash:  # one of SIE v0.1.10 knows nothing of revisions
                applied.add_metric(labels, one.revision)
                if one.bundle in head.catalog.bundles:
                    newest = head.catalog.bundle_head(one.bundle)
                    behind.add_metric(labels, float(one.store != head.store_id or one.revision < newest))
            depth.add_metric([one.key, one.machine_profile, one.bundle], one.queue_depth)
            memory.add_metric([one.key, one.machine_profile, one.bundle], one.memory_used_bytes)
        yield from (applied, behind, nacks, depth, memory)
        yield from self._counted()

    def _counted(self) -> Iterator[Metric]:
        workers = self._plane.workers()
        status = GaugeMetricFamily("sie_router_workers", "Workers heard of", labels=["status"])
        healthy = [one for one in workers if one.ready]
        status.add_metric(["healthy"], len(healthy))
        status.add_metric(["unhealthy"], len(workers) - len(healthy))
        yield status
        bundles = GaugeMetricFamily("sie_router_bundle_workers", "Healthy workers", labels=["bundle"])
        newest = GaugeMetricFamily("sie_config_bundle_revision", "Newest entry that touched it", labels=["bundle"])
        for bundle in self._plane.head.catalog.bundles:
            bundles.add_metric([bundle], sum(one.bundle == bundle for one in healthy))
            newest.add_metric([bundle], self._plane.head.catalog.bundle_head(bundle))
        yield bundles
        yield newest
        models = GaugeMetricFamily("sie_router_model_workers", "Healthy workers that have it loaded", labels=["model"])
        for model, count in Counter(model for one in healthy for model in set(one.loaded_models)).items():
            models.add_metric([model], count)
        yield models
