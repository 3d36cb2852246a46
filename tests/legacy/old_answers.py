"""What a worker of SIE v0.1.10 answers over HTTP: msgpack unless JSON alone is asked for, and errors under `detail`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
from aiohttp import web

VERSION = "0.1.10"
_VECTOR_BYTES = bytes.fromhex("0000803f000000400000404000008040")  # [1, 2, 3, 4] as little-endian float32


def content(kind: str, model: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    named = [one.get("id") for one in items]
    if kind == "score":
        scores = [{"item_id": one or f"item-{at}", "score": 1.0 - at, "rank": at} for at, one in enumerate(named)]
        return {"model": model, "query_id": None, "scores": scores}
    values = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [4], b"data": _VECTOR_BYTES}
    dense = {"dims": 4, "dtype": "float32", "values": values}
    timing = dict.fromkeys(("total_ms", "queue_ms", "tokenization_ms", "inference_ms", "postprocessing_ms"), 0.25)
    return {
        "model": model,
        "items": [{**({"id": one} if one else {}), "dense": dense} for one in named],
        "timing": timing,
    }


def answer(request: web.Request, said: dict[str, Any]) -> web.Response:
    headers = {"X-SIE-Server-Version": VERSION}
    for name in ("X-Queue-Time", "X-Tokenization-Time", "X-Inference-Time", "X-Total-Time"):
        headers[name] = "0.25"
    accept = request.headers.get("Accept", "")
    if "msgpack" in accept or "application/json" not in accept:
        return web.Response(body=msgpack.packb(said), content_type="application/msgpack", headers=headers)
    for one in said.get("items", ()):
        one["dense"] = {**one["dense"], "values": [1.0, 2.0, 3.0, 4.0]}
    return web.json_response(said, headers=headers)


def refusal(
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> web.Response:
    detail = {"code": code, "message": message, **(more or {})}
    return web.json_response({"detail": detail}, status=status, headers=headers)
