# Rule: pure; whoever counts says what time it is.
"""What the proxy has passed on, and what it could not: the counts behind a router's `/metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sie.observe.durations import Durations
from sie.router.demand import Demand

_BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)  # SIE v0.1.10's


class Traffic:
    """Since the start. `requests`: those that a worker answered, by endpoint, status and the worker's machine profile.

    `began`: how long until the answer began, by endpoint and machine profile. `provisioning`: answers that a machine
    has to come up first, by its profile. `demand`: for machines that have not come.
    """

    def __init__(self, configured: Collection[str]) -> None:
        """`configured`: the machine profiles that can be had."""
        self.requests: Counter[tuple[str, int, str]] = Counter()
        self.began: dict[tuple[str, str], Durations] = {}
        self.provisioning: Counter[str] = Counter()
        self.demand = Demand()
        self._configured = {one.lower() for one in configured}

    def answered(self, path: str, status: int, machine: str, *, took_s: float) -> None:
        """A worker's answer to a request of `/v1/{endpoint}…` has begun."""
        endpoint = path.split("/", 3)[2]
        self.requests[endpoint, status, machine] += 1
        if (durations := self.began.get((endpoint, machine))) is None:
            durations = self.began[endpoint, machine] = Durations(_BOUNDS_S)
        durations.note(took_s)

    def unmet(self, machine: str, bundle: str, now: float) -> None:
        """A request has to wait for a machine."""
        self.demand.note(machine, bundle, now)
        # Where no setting says which machines there are, clients may invent any name.
        self.provisioning[machine if machine in self._configured else "other"] += 1
