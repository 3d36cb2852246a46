"""What is always open on a worker: is it alive, is it ready, what does it do."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from quart import Blueprint, request

from sie.http.auth import Access
from sie.observe.metrics import ComputeNumbers, bus_numbers, counters, exposition, gauge
from sie.observe.probes import add_probes
from sie.worker.process import WorkerProcess


def health_blueprint(process: WorkerProcess, access: Access) -> Blueprint:
    """`/healthz`, `/readyz`, `/metrics`. No `/health`: by its absence clients tell a worker from a router."""
    routes = Blueprint("health", __name__)

    def guard() -> None:
        if process.settings.close_health:
            access.require_read(request.headers)

    def numbers() -> bytes:
        return exposition(_WorkerNumbers(process), ComputeNumbers(process.worker.compute))

    add_probes(routes, trouble=lambda: process.trouble, numbers=numbers, guard=guard)
    return routes


class _WorkerNumbers(Collector):
    def __init__(self, process: WorkerProcess) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        process = self._process
        status = process.worker.status()
        applied = GaugeMetricFamily("sie_config_applied_revision", "Complete up to here", labels=["worker", "bundle"])
        applied.add_metric([status.name, status.bundle], status.revision)
        yield applied
        behind = GaugeMetricFamily("sie_config_behind", "1 while it misses something", labels=["worker", "bundle"])
        behind.add_metric([status.name, status.bundle], float(process.worker.known.misses_something))
        yield behind
        yield gauge("sie_worker_ready", "1 while traffic may come", float(process.trouble is None))
        yield gauge(
            "sie_worker_truth_trouble", "1 while nobody tells the truth", float(process.truth.trouble is not None)
        )
        yield gauge("sie_config_nacks", "Profiles not taken on", len(status.nacks))
        legacy = {"taken": process.legacy.taken, **process.legacy.ignored}
        yield counters("sie_bus_legacy", "Announcements of v0.1.10 routers", "outcome", legacy)
        if process.bus is not None:
            yield from bus_numbers(process.bus.statistics())
