"""What a shared store can be made to do, by the proxy before it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sie.testing.proxy import Answer, Delay, Fault
from tests.faults.cluster import Cluster, ProxyThread
from tests.test_cluster import until

_REFUSAL = b"<Error><Code>InvalidAccessKeyId</Code><Message>The key id is not known here.</Message></Error>"
WRONG_CREDENTIALS: Final = Answer(403, body=_REFUSAL)


def before(cluster: Cluster) -> ProxyThread:
    assert cluster.proxy is not None, "this cluster was opened without a proxy"
    return cluster.proxy


def is_entry(method: str, target: str) -> bool:
    """Whether a request puts an entry into the log."""
    return method == "PUT" and "/log/" in target


@contextmanager
def everything(cluster: Cluster, fault: Fault) -> Iterator[None]:
    """Each request of each part meets this."""
    proxy = before(cluster)
    proxy.rule(lambda method, target: fault)
    try:
        yield
    finally:
        proxy.rule(None)


@contextmanager
def entries(cluster: Cluster, fault: Fault, *, times: int = 1_000_000) -> Iterator[None]:
    """The next so many entries on their way to the log meet this, whoever writes them."""
    left = iter(range(times))
    proxy = before(cluster)
    proxy.rule(lambda method, target: fault if is_entry(method, target) and next(left, None) is not None else None)
    try:
        yield
    finally:
        proxy.rule(None)


@contextmanager
def slow(cluster: Cluster, seconds: float) -> Iterator[None]:
    """Each request takes so long. Left when the last of those has come through: that is the fault's end."""
    with everything(cluster, Delay(before_s=seconds)):
        yield
    time.sleep(seconds)


@contextmanager
def down(cluster: Cluster) -> Iterator[None]:
    """Nobody listens at the store's port, and whoever was connected is cut off."""
    proxy = before(cluster)
    proxy.shut()
    proxy.do(lambda one: one.cut())
    try:
        yield
    finally:
        proxy.listen()


def wait_held(cluster: Cluster, number: int = 1) -> None:
    """Until so many requests meet Hold."""
    until(lambda: before(cluster).held >= number, True)


def calm(cluster: Cluster) -> None:
    """No fault any more, and nothing of an earlier one on its way."""
    proxy = before(cluster)
    proxy.rule(None)
    proxy.listen()
    proxy.release()
    proxy.land_late()
    until(lambda: proxy.held, 0)
