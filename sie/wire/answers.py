# Rule: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
"""Answers of the inference and model routes, as v0.1.10 shapes them: msgpack with raw arrays, or JSON with lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from sie.wire import msgpack
from sie.wire.inference import Dense, EncodeAnswer, Encoded, ModelInfo, Multivector, ScoreAnswer, Sparse, Timing


def wants_msgpack(accept: str | None) -> bool:
    """v0.1.10's rule: msgpack unless JSON is named and msgpack is not. Weights (q=) are not looked at."""
    wanted = (accept or "").lower()
    return "application/msgpack" in wanted or "application/x-msgpack" in wanted or "application/json" not in wanted


def write_encode(answer: EncodeAnswer, *, as_msgpack: bool) -> bytes:
    if as_msgpack:
        items = [_encoded(one) for one in answer.items]
        return msgpack.pack({"model": answer.model, "items": items, "timing": _timing(answer.timing)})
    rest = {"model": answer.model, "timing": _timing(answer.timing)}
    return write_large("items", map(_encoded, answer.items), rest)


def write_score(answer: ScoreAnswer, *, as_msgpack: bool) -> bytes:
    return _write(
        {
            "model": answer.model,
            "query_id": answer.query_id,
            "scores": [{"item_id": one.item_id, "score": float(one.score), "rank": one.rank} for one in answer.scores],
        },
        as_msgpack,
    )


def write_models(models: Sequence[ModelInfo]) -> bytes:
    """The list twice: under `models` as SIE's clients read it, under `data` as OpenAI's do."""
    return write_json(
        {
            "models": [_model(one) for one in models],
            "object": "list",
            "data": [_openai_model(one) for one in models],
        }
    )


def write_model(model: ModelInfo) -> bytes:
    return write_json({**_openai_model(model), **_model(model)})


def write_json(value: Any) -> bytes:
    """Arrays as lists, each number in the fewest digits that give it back in its own precision."""
    return orjson.dumps(value, default=_contiguous, option=orjson.OPT_SERIALIZE_NUMPY)


def write_large(name: str, items: Iterable[Any], rest: Mapping[str, Any]) -> bytes:
    """A JSON object with one long list in it, an item at a time: orjson stops every thread for as long as it writes."""
    long = b'{"%s":[%s],' % (name.encode(), b",".join(map(write_json, items)))
    return long + write_json(rest)[1:]


def timing_headers(timing: Timing) -> Mapping[str, str]:
    """Milliseconds, two decimals."""
    headers = {
        "X-Queue-Time": f"{timing.queue_ms:.2f}",
        "X-Tokenization-Time": f"{timing.tokenization_ms:.2f}",
        "X-Inference-Time": f"{timing.inference_ms:.2f}",
        "X-Total-Time": f"{timing.total_ms:.2f}",
    }
    if timing.postprocessing_ms > 0:
        headers["X-Postprocessing-Time"] = f"{timing.postprocessing_ms:.2f}"
    return headers


def _write(value: Any, as_msgpack: bool) -> bytes:
    return msgpack.pack(value) if as_msgpack else write_json(value)


def _contiguous(value: Any) -> Any:
    # The JSON writer takes arrays in C order only, and asks here about the others.
    import numpy as np

    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value)
    raise TypeError(f"JSON has no spelling for {type(value).__name__}")


def _encoded(one: Encoded) -> Mapping[str, Any]:
    parts: dict[str, Any] = {}
    if one.id is not None:
        parts["id"] = one.id
    if one.dense is not None:
        parts["dense"] = _dense(one.dense)
    if one.sparse is not None:
        parts["sparse"] = _sparse(one.sparse)
    if one.multivector is not None:
        parts["multivector"] = _multivector(one.multivector)
    return parts


def _dense(one: Dense) -> Mapping[str, Any]:
    return {"dims": one.dims, "dtype": one.dtype, "values": one.values}


def _sparse(one: Sparse) -> Mapping[str, Any]:
    return {"dims": one.dims, "dtype": one.dtype, "indices": one.indices, "values": one.values}


def _multivector(one: Multivector) -> Mapping[str, Any]:
    return {"token_dims": one.token_dims, "num_tokens": one.num_tokens, "dtype": one.dtype, "values": one.values}


def _timing(timing: Timing) -> Mapping[str, float]:
    return {
        "total_ms": timing.total_ms,
        "queue_ms": timing.queue_ms,
        "tokenization_ms": timing.tokenization_ms,
        "inference_ms": timing.inference_ms,
        "postprocessing_ms": timing.postprocessing_ms,
    }


def _model(model: ModelInfo) -> Mapping[str, Any]:
    return {
        "name": model.name,
        "inputs": list(model.inputs),
        "outputs": list(model.outputs),
        "dims": dict(model.dims),
        "loaded": model.loaded,
        "max_sequence_length": model.max_sequence_length,
        "profiles": {name: dict(facts) for name, facts in model.profiles.items()},
        "bundles": list(model.bundles),
        "state": model.state,
    }


def _openai_model(model: ModelInfo) -> Mapping[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "sie"}
