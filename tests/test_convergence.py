"""Several routers, several workers, one NATS, one S3: what was accepted is everywhere, once, and nothing else is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.bucket_servers import BUCKET, s3_server
from tests.bus.natsserver import NatsServer
from tests.processes import Served, sie_process
from tests.test_cluster import MODELS, document, until

BUNDLES = {
    "one.yaml": "name: one\npriority: 1\nadapters: [sie_server.adapters.sentence_transformer]\n",
    "two.yaml": "name: two\npriority: 2\nadapters: [sie_server.adapters.bert_flash]\n",
}


@contextmanager
def fleet(folder: Path, *, routers: int, workers: int) -> Iterator[tuple[list[Served], NatsServer]]:
    """`workers` of each of two bundles, and routers that dial all of them."""
    (folder / "bundles").mkdir()
    for name, text in BUNDLES.items():
        (folder / "bundles" / name).write_text(text)
    with NatsServer() as nats, s3_server(folder) as port, ExitStack() as stack:
        environment = {
            "SIE_NATS_URL": nats.url,
            "SIE_BUNDLES_DIR": str(folder / "bundles"),
            "SIE_CONFIG_STORE_DIR": f"s3://{BUCKET}/configs",
            "SIE_CONFIG_RESTORE": "true",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "AWS_REGION": "us-east-1",
        }

        def start(command: str, *flags: str) -> Served:
            return stack.enter_context(sie_process(command, *flags, environment=environment))

        running = [start("worker", "--bundle", bundle) for bundle in ("one", "two") for _ in range(workers)]
        dialled = [flag for worker in running for flag in ("--worker", worker.address)]
        fronts = [start("router", *dialled) for _ in range(routers)]
        until(lambda: [len(workers_of(front)) for front in fronts], [len(running)] * routers, 30)
        yield fronts, nats


def workers_of(front: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{front.address}/health").json()["workers"]
    return found


def body(number: int) -> tuple[str, str, str]:
    """Two in three are appends to the same five models; a third of those to the other bundle."""
    if number % 3 == 0:
        return f"own/model-{number}", "default", document(f"own/model-{number}")
    name, profile = f"shared/model-{number % 5}", f"p{number}"
    text = document(name)
    if number % 3 == 1:
        return name, profile, text + f"  {profile}:\n    extends: default\n"
    return name, profile, text + f"  {profile}:\n    adapter_path: sie_server.adapters.bert_flash:BertFlashAdapter\n"


def post_all(fronts: list[Served], posts: int, clients: int) -> Mapping[tuple[str, str], Counter[str]]:
    """Every document through a router chosen by chance; what each (model, profile) was answered."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    order = [number for number in range(posts) for _ in range(2)]  # each is posted twice, at different times
    chance.shuffle(order)
    routes = [chance.choice(fronts).address for _ in order]
    answered: dict[tuple[str, str], Counter[str]] = {}

    def post(number: int, address: str) -> tuple[tuple[str, str], str]:
        name, profile, text = body(number)
        reply = httpx.post(address + MODELS, content=text, timeout=60)
        assert reply.status_code in {200, 201}, reply.text
        return (name, profile), "created" if profile in reply.json()["created_profiles"] else "there"

    with ThreadPoolExecutor(clients) as pool:
        for key, outcome in pool.map(post, order, routes):
            answered.setdefault(key, Counter())[outcome] += 1
    return answered


def judge(fronts: list[Served], answered: Mapping[tuple[str, str], Counter[str]]) -> None:
    for key, outcomes in answered.items():
        assert outcomes == {"created": 1, "there": 1}, (key, outcomes)
    for front in fronts:
        # A look at the store, as any change would bring: then this router has all of it.
        assert httpx.post(front.address + MODELS, content=document("shared/model-0"), timeout=60).status_code == 200
        for name in {name for name, _ in answered}:
            stored = yaml.safe_load(httpx.get(f"{front.address}{MODELS}/{name}").text)["profiles"]
            assert set(stored) == {"default"} | {profile for known, profile in answered if known == name}

    def standing(front: Served) -> set[tuple[str, int, str]]:
        return {(one["bundle"], one["config_revision"], one["config_digest"]) for one in workers_of(front)}

    # One revision and one digest a bundle, on every worker, as every router hears it.
    until(lambda: [len(standing(front)) for front in fronts], [2] * len(fronts), 5)
    assert len({frozenset(standing(front)) for front in fronts}) == 1


@pytest.mark.slow
def test_two_routers_and_their_workers_agree_on_everything_accepted(tmp_path: Path) -> None:
    with fleet(tmp_path, routers=2, workers=1) as (fronts, _):
        judge(fronts, post_all(fronts, posts=30, clients=8))


@pytest.mark.slow
def test_the_same_while_nats_goes_and_comes(tmp_path: Path) -> None:
    """Posts are refused meanwhile, and nothing that was refused is anywhere."""
    with fleet(tmp_path, routers=2, workers=1) as (fronts, nats):
        before = post_all(fronts, posts=10, clients=4)
        nats.kill()
        until(lambda: [httpx.post(f.address + MODELS, content=body(0)[2]).status_code for f in fronts], [503, 503])
        nats.start()
        until(lambda: {httpx.post(f.address + MODELS, content=body(0)[2]).status_code for f in fronts}, {200})
        judge(fronts, before)


@pytest.mark.slow
def test_three_routers_and_six_workers_agree_on_everything_accepted(tmp_path: Path) -> None:
    with fleet(tmp_path, routers=3, workers=3) as (fronts, _):
        judge(fronts, post_all(fronts, posts=150, clients=16))
