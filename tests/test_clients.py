"""The real clients, unmodified, against a real engine with a real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.processes import Served

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SDKS = sorted(Path(sys.prefix).glob("sie-sdk-*"))

# Runs beside the SDK's own dependencies only; what it prints is judged here.
SDK_SESSION = """
import json, sys
import sie_sdk
from sie_sdk import SIEClient
address, model = sys.argv[1:3]
client = SIEClient(address, timeout_s=60)
single = client.encode(model, {"text": "a cat on a mat", "id": "one"})
several = client.encode(model, [{"text": "a cat on a mat"}, {"text": "quarterly revenue"}, {"text": "a kitten"}])
half = client.encode(model, {"text": "a cat on a mat"}, output_dtype="float16")
tokens = client.encode(model, {"text": "a cat on a mat"}, output_types=["multivector"])
scored = client.score(model, {"text": "a cat"}, [{"text": "revenue", "id": "r"}, {"text": "a kitten", "id": "k"}])
refused = None
try:
    client.encode("no/such", {"text": "a"})
except Exception as error:
    refused = [type(error).__name__, getattr(error, "code", None), getattr(error, "status_code", None)]
print(json.dumps({
    "id": single.get("id"),
    "single": single["dense"].tolist(),
    "several": [one["dense"].tolist() for one in several],
    "half": str(half["dense"].dtype),
    "tokens": list(tokens["multivector"].shape),
    "ranking": [one["item_id"] for one in scored["scores"]],
    "models": [one["name"] for one in client.list_models()],
    "model": client.get_model(model)["dims"],
    "capacity": client.get_capacity() if sys.argv[3] == "router" else None,
    "refused": refused,
    "watched": next(iter(client.watch()))["cluster"]["worker_count"] if sys.argv[3] == "router" else None,
}))
"""

SDK_LOADING = """
import json, sys, time
from sie_sdk import SIEClient
address, model = sys.argv[1:]
client = SIEClient(address, timeout_s=5)
began = time.monotonic()
vector = client.encode(model, {"text": "waited for"})["dense"]
print(json.dumps({"dims": len(vector), "seconds": time.monotonic() - began}))
"""


def session(sdk: Path, script: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(sdk)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_both_versions_of_the_sdk_are_here() -> None:
    assert [one.name for one in SDKS] == ["sie-sdk-0.1.10", "sie-sdk-0.10.1"]


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_the_sdk_encodes_scores_and_lists(running: Served, sdk: Path) -> None:
    # Newer clients ask for capacity at another kind of front than the documented router.
    front = "router" if sdk.name == "sie-sdk-0.1.10" else "other"
    told = session(sdk, SDK_SESSION, running.address, MODEL, front)
    assert told["id"] == "one"
    first, revenue, kitten = (np.array(one) for one in told["several"])
    np.testing.assert_allclose(np.array(told["single"]), first, atol=1e-5)
    assert first @ kitten > first @ revenue
    assert told["half"] == "float16"
    assert told["tokens"][1] == 384
    assert told["ranking"] == ["k", "r"]
    assert MODEL in told["models"]
    assert told["model"]["dense"] == 384
    if front == "router":
        assert told["capacity"]["status"] == "healthy"
        assert told["capacity"]["worker_count"] == 2  # one a bundle
        assert told["watched"] == 2
    assert told["refused"] == ["RequestError", "MODEL_NOT_FOUND", 404]


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_the_sdk_reads_model_loading_as_such_and_waits(running: Served, sdk: Path) -> None:
    added = f"demo/{sdk.name}"
    document = (
        f"sie_id: {added}\nhf_id: {MODEL}\nmax_sequence_length: {100 + SDKS.index(sdk)}\nprofiles:\n  default:\n"
        "    adapter_path: sie_server.adapters.sentence_transformer:SentenceTransformerAdapter\n"
    )
    assert httpx.post(f"{running.address}/v1/configs/models", content=document).status_code == 201
    first = httpx.post(f"{running.address}/v1/encode/{added}", json={"items": [{"text": "a"}]})
    assert (first.status_code, first.json()["detail"]["code"]) == (503, "MODEL_LOADING")
    assert float(first.headers["Retry-After"]) >= 1
    assert session(sdk, SDK_LOADING, running.address, added)["dims"] == 384


def test_the_openai_client_embeds_and_lists(running: Served) -> None:
    with openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=20) as client:
        texts = ["a cat on a mat", "quarterly revenue", "a kitten"]
        floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
        packed = client.embeddings.create(model=MODEL, input=texts)  # the client asks for base64 by itself
        vectors = np.array([one.embedding for one in floats.data])
        np.testing.assert_allclose(vectors, np.array([one.embedding for one in packed.data]), atol=1e-6)
        assert [one.index for one in floats.data] == [0, 1, 2]
        assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1]
        assert floats.usage.prompt_tokens == floats.usage.total_tokens == 7 + 4 + 4
        short = client.embeddings.create(model=MODEL, input="a cat", dimensions=8)
        assert np.linalg.norm(short.data[0].embedding) == pytest.approx(1, abs=1e-4)
        assert len(short.data[0].embedding) == 8
        assert MODEL in [one.id for one in client.models.list()]
        with pytest.raises(openai.NotFoundError) as refused:
            client.embeddings.create(model="no/such", input="a")
        assert refused.value.code == "model_not_found"
