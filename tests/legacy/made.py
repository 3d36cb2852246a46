"""What the tests beside this file share: documents, clusters, waiting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.bus.natsserver import NatsServer
from tests.processes import Served, sie_process
from tests.test_cluster import MODEL, MODELS, until

ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerDenseAdapter"
MODULE = "sie_server.adapters.sentence_transformer"

# What the image of every process carries; v0.1.10's strict schema takes it.
FILE = f"""\
sie_id: shipped/minilm
hf_id: {MODEL}
tasks:
  encode:
    dense:
      dim: 384
profiles:
  default:
    adapter_path: {ADAPTER}
    max_batch_tokens: 8192
"""


def full(sie_id: str, *profiles: str, hf_id: str = MODEL, dim: int = 384) -> str:
    """A document that a worker of v0.1.10 takes as it is, and serves."""
    more = "".join(f"  {one}:\n    extends: default\n" for one in profiles)
    return FILE.replace("shipped/minilm", sie_id).replace(MODEL, hf_id).replace("384", str(dim)) + more


def bare(sie_id: str) -> str:
    """The page's first example: no tasks, no hf_id, options for the run."""
    return f"""\
sie_id: {sie_id}
profiles:
  default:
    adapter_path: sie_server.adapters.sentence_transformer:SentenceTransformerAdapter
    max_batch_tokens: 8192
    adapter_options:
      loadtime: {{}}
      runtime:
        pooling: mean
        normalize: true
"""


class Mixed:
    """Processes of this project with the model file of every image, on one NATS; ended with the block."""

    def __init__(self, nats: NatsServer, folder: Path, stack: ExitStack) -> None:
        self.nats = nats
        self.folder = folder
        self._stack = stack
        (folder / "models").mkdir(exist_ok=True)
        (folder / "models" / "shipped__minilm.yaml").write_text(FILE)

    def _environment(self, said: Mapping[str, str]) -> Mapping[str, str]:
        return {"SIE_NATS_URL": self.nats.url, "SIE_MODELS_DIR": str(self.folder / "models"), **said}

    def worker(self, *flags: str, **environment: str) -> Served:
        return self._stack.enter_context(sie_process("worker", *flags, environment=self._environment(environment)))

    def router(self, *addresses: str, store: str = "store", connected: int | None = None, **environment: str) -> Served:
        """Returns once it hears from its workers and NATS."""
        dialled = [flag for address in addresses for flag in ("--worker", address)]
        flags = ("--config-store-dir", str(self.folder / store), "--config-restore", *dialled)
        router = self._stack.enter_context(sie_process("router", *flags, environment=self._environment(environment)))
        wanted = len(addresses) if connected is None else connected
        until(lambda: len([one for one in workers_of(router) if one["healthy"]]), wanted)
        headers = bearer(environment.get("SIE_ADMIN_TOKEN"))
        until(lambda: post(router, "{}", headers=headers).status_code, 422)  # 503 until NATS is there
        return router


@contextmanager
def mixed_cluster(nats: NatsServer, folder: Path) -> Iterator[Mixed]:
    with ExitStack() as stack:
        yield Mixed(nats, folder, stack)


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def workers_of(router: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{router.address}/health").json()["workers"]
    return found


def post(router: Served, text: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.post(router.address + MODELS, content=text, timeout=30, headers=headers)


def encode(address: str, model: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(
        f"{address}/v1/encode/{model}", json={"items": [{"text": "a cat", "id": "one"}]}, headers=named, timeout=60
    )
