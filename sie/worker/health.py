"""What is always open on a worker: is it alive, is it ready, what does it do."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from quart import Blueprint, request

from sie.http.auth import Access
from sie.observe.metrics import ComputeNumbers
from sie.observe.probes import add_probes
from sie.worker.process import WorkerProcess


def health_blueprint(process: WorkerProcess, access: Access) -> Blueprint:
    """`/healthz`, `/readyz`, `/metrics`. No `/health`: by its absence clients tell a worker from a router."""
    routes = Blueprint("health", __name__)

    def guard() -> None:
        if process.settings.close_health:
            access.require_read(request.headers)

    add_probes(routes, trouble=lambda: process.trouble, numbers=lambda: _numbers(process), guard=guard)
    return routes


def _numbers(process: WorkerProcess) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_WorkerNumbers(process))
    registry.register(ComputeNumbers(process.worker.compute))
    return generate_latest(registry)


class _WorkerNumbers(Collector):
    def __init__(self, process: WorkerProcess) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        process = self._process
        status = process.worker.status()
        applied = GaugeMetricFamily("sie_config_applied_revision", "Complete up to here", labels=["worker", "bundle"])
        applied.add_metric([status.name, status.bundle], status.revision)
        yield applied
        yield GaugeMetricFamily("sie_worker_ready", "1 while traffic may come", value=float(process.trouble is None))
        yield GaugeMetricFamily("sie_config_nacks", "Profiles not taken on", value=len(status.nacks))
        legacy = CounterMetricFamily("sie_bus_legacy", "Announcements of v0.1.10 routers", labels=["outcome"])
        legacy.add_metric(["taken"], process.legacy.taken)
        for kind, count in process.legacy.ignored.items():
            legacy.add_metric([kind], count)
        yield legacy
        if process.bus is not None:
            heard = process.bus.statistics()
            yield GaugeMetricFamily("sie_bus_connected", "1 while NATS is", value=float(heard.connection.connected))
            yield CounterMetricFamily("sie_bus_received", "Messages on the config subjects", value=heard.received)
            ignored = CounterMetricFamily("sie_bus_ignored", "Those of no use", labels=["reason"])
            for reason, count in heard.ignored.items():
                ignored.add_metric([reason], count)
            yield ignored
