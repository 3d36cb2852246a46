"""A model that comes into another bundle by an append: workers there have not heard what it rests on."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.faults.cluster import add, metric, open_cluster
from tests.faults.verdict import wait_level
from tests.test_cluster import MODELS, document

FLASH = "  flash:\n    adapter_path: sie_server.adapters.bert_flash:BertFlashAdapter\n"


def test_a_model_that_an_append_brings_into_a_bundle_is_confirmed_there_without_waiting_for_a_look(
    tmp_path: Path,
) -> None:
    with open_cluster(tmp_path, routers=1, workers=("one", "two")) as cluster:
        (router,) = cluster.routers
        assert add(router, "org/model").status_code == 201
        added = httpx.post(router.address + MODELS, content=document("org/model") + FLASH, timeout=30).json()
        assert (added["acked_workers"], added["worker_ack_pending"], added["warnings"]) == (2, False, [])
        wait_level(cluster)
        assert [metric(one, "sie_bus_ignored_total") for one in cluster.workers] == [0, 0]
