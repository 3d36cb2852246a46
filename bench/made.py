"""What benchmarks post and store: small models, as the documentation's first example is."""

from __future__ import annotations

import json

from sie.catalog.canonical import Json
from sie.catalog.catalog import Catalog
from sie.catalog.entry import Entry, write_entry
from sie.files import load_catalog
from sie.settings import Settings

BUNDLE = "default"
_ADAPTER = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
_HUB = "sentence-transformers/all-MiniLM-L6-v2"

# As long as a worker's status is, in bytes.
STATUS = "s" * 640


def document(model_id: str) -> bytes:
    """A body to post."""
    return f"""\
sie_id: {model_id}
hf_id: {_HUB}
profiles:
  default:
    adapter_path: {_ADAPTER}
    max_batch_tokens: 8192
    adapter_options:
      loadtime: {{}}
      runtime:
        pooling: mean
        normalize: true
""".encode()


def entry(model_id: str, revision: int) -> Entry:
    """What posting it appends."""
    runtime: dict[str, Json] = {"pooling": "mean", "normalize": True}
    return Entry(
        model_id=model_id,
        profiles={
            "default": {
                "adapter_path": _ADAPTER,
                "max_batch_tokens": 8192,
                "adapter_options": {"runtime": runtime},
            }
        },
        fields={"hf_id": _HUB},
        write_id=f"{revision:032x}",
        time="2026-01-01T00:00:00.000+00:00",
        router_id="router-000000",
        body_hash="0" * 64,
        revision=revision,
    )


def message(model_id: str, revision: int) -> bytes:
    """As long as what is published of it, and not what is."""
    content = {"model_config": document(model_id).decode(), "entry": write_entry(entry(model_id, revision)).decode()}
    return json.dumps(content).encode()


def catalog() -> Catalog:
    """As a process has it that was just started."""
    found, faults = load_catalog(Settings())
    assert not faults
    return found
