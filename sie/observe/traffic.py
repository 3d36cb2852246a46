"""The numbers of a router's traffic: what it passes on to workers, and the links by which it knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sie.observe.metrics import counter, counters, gauge

if TYPE_CHECKING:
    from sie.router.links import Links
    from sie.router.proxy import Proxy


class TrafficNumbers(Collector):
    """What a router shows beside its config plane."""

    def __init__(self, proxy: Proxy, links: Links) -> None:
        self._proxy = proxy
        self._links = links

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._dialled()

    def _requests(self) -> Iterator[Metric]:
        traffic, done = self._proxy.traffic, self._proxy.statistics()
        requests = CounterMetricFamily(
            "sie_router_requests", "Requests that a worker answered", labels=["endpoint", "status", "machine_profile"]
        )
        for (endpoint, status, machine), count in traffic.requests.items():
            requests.add_metric([endpoint, str(status), machine], count)
        yield requests
        took = HistogramMetricFamily(
            "sie_router_request_latency_seconds", "Until the answer began", labels=["endpoint", "machine_profile"]
        )
        for labels, durations in traffic.began.items():
            took.add_metric(list(labels), durations.buckets(), durations.sum_s)
        yield took
        yield counter("sie_router_retries", "Requests given to another worker", done.tried_again)
        yield counter("sie_router_unreachable", "Requests no worker could be reached for", done.unreachable)
        under_way = GaugeMetricFamily("sie_router_in_flight", "Requests under way", labels=["worker"])
        for worker, count in done.in_flight.items():
            under_way.add_metric([worker], count)
        yield under_way
        yield counters(
            "sie_router_provisioning_responses", "Answered with 202", "machine_profile", traffic.provisioning
        )
        wanted = GaugeMetricFamily(
            "sie_router_pending_demand", "1 while it is asked for and not there", labels=["machine_profile", "bundle"]
        )
        for machine, bundle in self._proxy.wanted():
            wanted.add_metric([machine, bundle], 1)
        yield wanted

    def _dialled(self) -> Iterator[Metric]:
        connected = GaugeMetricFamily("sie_link_connected", "1 while its status is heard", labels=["worker"])
        dials = CounterMetricFamily("sie_link_dials", "Tries to connect", labels=["worker"])
        statuses = CounterMetricFamily("sie_link_statuses", "Statuses taken", labels=["worker"])
        refused = CounterMetricFamily("sie_link_refused", "Messages that were no status", labels=["worker"])
        for one in self._links.statistics():
            connected.add_metric([one.url], float(one.connected))
            dials.add_metric([one.url], one.dials)
            statuses.add_metric([one.url], one.statuses)
            refused.add_metric([one.url], one.refused)
        yield from (connected, dials, statuses, refused)
        unresolved = self._links.unresolved is not None
        yield gauge("sie_link_unresolved", "1 while the workers' DNS name cannot be resolved", float(unresolved))
