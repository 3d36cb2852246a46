"""Models, requests and a running Compute, made in one line each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from sie.catalog.model import Model, Profile, Source
from sie.settings import Settings
from sie.testing.device import FakeDevice
from sie.wire.inference import EncodeRequest, Item, ScoreRequest
from sie.worker.compute import Compute
from sie.worker.device import Device

DENSE = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
SPARSE = "sie_server.adapters.sentence_transformer:SentenceTransformerSparseAdapter"
CROSS_ENCODER = "sie_server.adapters.cross_encoder:CrossEncoderAdapter"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def made_model(
    sie_id: str = "org/model",
    *,
    adapter: str = DENSE,
    source: Source = "api",
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
    **fields: Any,
) -> Model:
    """`profiles` are added to a default one that has the adapter alone."""
    contents = {"default": {"adapter_path": adapter}, **(profiles or {})}
    return Model(
        sie_id=sie_id,
        fields=fields,
        profiles={name: Profile(name, content) for name, content in contents.items()},
        source=source,
        created=dict.fromkeys(contents, 1),
    )


def encode(*texts: str, **params: Any) -> EncodeRequest:
    return EncodeRequest(items=[Item(text) for text in texts], **params)


def score(query: str, *texts: str, **params: Any) -> ScoreRequest:
    return ScoreRequest(query=Item(query), items=[Item(text) for text in texts], **params)


@asynccontextmanager
async def running(device: Device | None = None, **settings: Any) -> AsyncIterator[Compute]:
    """A Compute at work; a fake device unless another is given."""
    compute = Compute(Settings(**settings), device=device or FakeDevice())
    async with trio.open_nursery() as nursery:
        await nursery.start(compute.run)
        yield compute
        nursery.cancel_scope.cancel(reason="the test is done")


def texts_of(device: FakeDevice) -> Sequence[Sequence[str]]:
    return [texts for _, texts in device.batches]
