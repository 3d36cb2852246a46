"""`sie serve` as its operator sees it: starting, stopping, and a power cut in the middle of writes."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from tests.processes import sie_serve

ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
MODELS = "/v1/configs/models"


def document(sie_id: str, profile: str = "default") -> str:
    extra = "" if profile == "default" else f"  {profile}:\n    extends: default\n"
    return f"sie_id: {sie_id}\nprofiles:\n  default:\n    adapter_path: {ADAPTER}\n{extra}"


def test_help_reads_nothing_heavy() -> None:
    """`sie --help` answers without torch, trio or the web framework."""
    script = "import sys, sie.cli; print(sorted({'torch', 'trio', 'quart', 'numpy', 'hypercorn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serving_reads_no_torch_until_a_model_is_needed() -> None:
    with sie_serve() as served:
        maps = Path(f"/proc/{served.process.pid}/maps").read_text()
        assert "libtorch" not in maps
        assert "numpy" not in maps


def test_the_summary_ends_in_two_commands_that_work(tmp_path: Path) -> None:
    with sie_serve() as served:
        text = "".join(served.output)
        commands = text[text.index("Try:") + 4 :]
        embeddings, added = commands.split("  curl ")[1:]
        for command, wanted in ((f"curl -s {added}", '"created_profiles":["default"]'), (f"curl -s {embeddings}", "")):
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0
            assert wanted in done.stdout
        assert served.stop() == 0


def test_a_setting_that_makes_no_sense_is_one_line_and_exit_1() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sie.cli", "serve"],
        env={"SIE_PORT": "http", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "SIE_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line_and_exit_1() -> None:
    with sie_serve() as served:
        port = served.address.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-m", "sie.cli", "serve", "--port", port], capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_a_torn_store_is_named_and_nothing_starts(tmp_path: Path) -> None:
    stored = ("--config-store-dir", str(tmp_path), "--config-restore")
    with sie_serve(*stored) as served:
        assert httpx.post(served.address + MODELS, content=document("a/b")).status_code == 201
        served.stop()
    torn = tmp_path / "log" / "0000000001.json"
    torn.write_bytes(torn.read_bytes()[:40])
    done = subprocess.run(
        [sys.executable, "-m", "sie.cli", "serve", "--port", "0", *stored],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert torn.name in done.stderr
    assert "Traceback" not in done.stderr
    checked = subprocess.run(
        [sys.executable, "-m", "sie.cli", "store", "check", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 1
    assert torn.name in checked.stderr


def cut_power(tmp_path: Path, *, posts: int, cuts: int, seed: int) -> None:
    """Post from several threads, kill -9 at random moments, and hold every answer against the store afterwards."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    answers: dict[str, int] = {}
    todo = iter(range(posts))
    lock = threading.Lock()

    def client(address: str) -> None:
        with httpx.Client(base_url=address, timeout=10) as http:
            while True:
                with lock:
                    number = next(todo, None)
                if number is None:
                    return
                # Every third is an append to one of two models: the writes that get lost elsewhere.
                name, profile = (
                    (f"shared/model-{number % 2}", f"p{number}")
                    if number % 3 == 0
                    else (f"own/model-{number}", "default")
                )
                try:
                    answers[f"{name}:{profile}"] = http.post(MODELS, content=document(name, profile)).status_code
                except httpx.TransportError:
                    return  # no answer: it may have happened or not

    flags = ("--config-store-dir", str(tmp_path), "--config-restore")
    for round_ in range(cuts + 1):
        with sie_serve(*flags) as served, ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, served.address) for _ in range(4)]
            if round_ < cuts:
                time.sleep(chance.uniform(0.02, 0.6))
                served.kill()
            for one in clients:
                one.result()
            if round_ == cuts:
                listed = {
                    one["model_id"]: one["profiles"] for one in httpx.get(served.address + MODELS).json()["models"]
                }
                content = {
                    name: yaml.safe_load(httpx.get(f"{served.address}{MODELS}/{name}").text)["profiles"]
                    for name in listed
                    if name.partition("/")[0] in {"shared", "own"}
                }
                assert served.stop() == 0
    assert set(answers.values()) <= {200, 201}
    assert len(answers) > posts // 3
    for said in answers:
        name, _, profile = said.partition(":")
        wanted = {"adapter_path": ADAPTER} if profile == "default" else {"extends": "default"}
        assert content[name][profile] == wanted, said
    report = subprocess.run(
        [sys.executable, "-m", "sie.cli", "store", "check", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert report.returncode == 0, report.stderr


def test_what_was_answered_survives_power_cuts(tmp_path: Path) -> None:
    cut_power(tmp_path, posts=150, cuts=3, seed=random.randrange(10**6))


@pytest.mark.slow
def test_what_was_answered_survives_many_power_cuts(tmp_path: Path) -> None:
    cut_power(tmp_path, posts=1000, cuts=12, seed=random.randrange(10**6))


@pytest.mark.parametrize("appends", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_two_processes_on_one_directory_lose_nothing(tmp_path: Path, appends: int) -> None:
    """Appends to two models through two processes at once: each is created exactly once and all are there."""
    flags = ("--config-store-dir", str(tmp_path), "--config-restore")
    with sie_serve(*flags) as one, sie_serve(*flags) as other, ThreadPoolExecutor(8) as pool:
        assert httpx.post(one.address + MODELS, content=document("shared/model")).status_code == 201

        def append(number: int) -> tuple[int, list[str]]:
            # Two models of 250 profiles each: a model may have 256.
            name = f"shared/model-{number % 2}"
            address = (one, other)[(number // 2) % 2].address
            reply = httpx.post(address + MODELS, content=document(name, f"p{number}"), timeout=60)
            return reply.status_code, reply.json().get("created_profiles", [])

        outcomes = list(pool.map(append, range(appends)))
        assert {status for status, _ in outcomes} == {201}
        assert sum("default" in created for _, created in outcomes) == 2
        for served in (one, other):
            httpx.post(served.address + MODELS, content=document("shared/model"))  # has it read what the other wrote
            for half in range(2):
                stored = yaml.safe_load(httpx.get(f"{served.address}{MODELS}/shared/model-{half}").text)["profiles"]
                assert set(stored) == {"default"} | {f"p{number}" for number in range(half, appends, 2)}
