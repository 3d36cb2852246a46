# Rule: a route reads, asks the engine, writes. Errors are raised; sie/http/app.py is the one place that answers them.
"""Inference over HTTP, as SIE v0.1.10 and OpenAI's clients speak it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio
from quart import Response, request

from sie.errors import DeadlineExceeded, InvalidInput
from sie.http.auth import Access
from sie.http.headers import Headers, check_machine_profile, joined, model_revision, prefer_wait, timeout_s
from sie.http.plain import Asked, PlainBlueprint, Reply
from sie.settings import KIB, Settings
from sie.turns import in_turns
from sie.wire.answers import timing_headers, wants_msgpack, write_encode, write_model, write_models, write_score
from sie.wire.embeddings import read_embeddings, write_embeddings
from sie.wire.inference import EncodeAnswer, EncodeRequest, Item, ModelInfo, Timing
from sie.wire.requests import Limits, read_encode, read_score
from sie.worker.edge import InferenceEdge, Knowing

Answer = TypeVar("Answer")

# What is read, and written, on the spot: 64 KiB of small items take about 2 ms, 64 vectors of 384 floats 1 ms as JSON.
_READ_AT_ONCE = 64 * KIB
_WRITTEN_AT_ONCE = 64


def inference_blueprint(
    engine: InferenceEdge,
    settings: Settings,
    access: Access,
    reach: Callable[[Headers], Awaitable[None]] | None = None,
) -> PlainBlueprint:
    """`/v1/encode`, `/v1/score`, `/v1/extract`, `/v1/embeddings` and `/v1/models`, for sie.http.app.http_app.

    `reach`: returns once what the request's headers ask to be known is known, or raises.
    """
    routes = PlainBlueprint("inference", __name__)
    limits = Limits(items=settings.request_items, text_bytes=settings.item_text_bytes, values=settings.request_values)

    async def admit(headers: Headers) -> None:
        access.require_read(headers)
        if reach is not None:
            await reach(headers)

    @routes.before_request
    async def check_access() -> None:
        await admit(request.headers)

    @routes.plain("/v1/encode/<path:model>")
    async def encode(asked: Asked, model: str) -> Reply:
        body = await body_for(asked, model)
        wanted = await _read(body, partial(read_encode, body, asked.headers.get("Content-Type"), limits))
        wait_s = _waits(asked, settings)
        with knowing_enough(asked):
            answer = await _in_time(asked, lambda: engine.encode(model, wanted, wait_s=wait_s or 0))
        as_msgpack = _as_msgpack(asked)
        content = await _written(len(answer.items), lambda: write_encode(answer, as_msgpack=as_msgpack))
        return _answered(content, answer.timing, wait_s, as_msgpack=as_msgpack)

    @routes.plain("/v1/score/<path:model>")
    async def score(asked: Asked, model: str) -> Reply:
        body = await body_for(asked, model)
        wanted = await _read(body, partial(read_score, body, asked.headers.get("Content-Type"), limits))
        wait_s = _waits(asked, settings)
        with knowing_enough(asked):
            answer = await _in_time(asked, lambda: engine.score(model, wanted, wait_s=wait_s or 0))
        as_msgpack = _as_msgpack(asked)
        return _answered(write_score(answer, as_msgpack=as_msgpack), answer.timing, wait_s, as_msgpack=as_msgpack)

    @routes.plain("/v1/extract/<path:model>")
    async def extract(asked: Asked, model: str) -> Reply:
        await body_for(asked, model)
        raise InvalidInput(f"Model '{model[:200]}' does not extract: no adapter of this build does")

    @routes.plain("/v1/embeddings")
    async def embeddings(asked: Asked, _: str) -> Reply:
        await admit(asked.headers)
        check_machine_profile(asked.headers, settings.machine_profile)
        body = await asked.read_body(settings.request_body_bytes)
        wanted = await _read(body, partial(read_embeddings, body, limits))
        with knowing_enough(asked):
            engine.require(wanted.model)
        wait_s = _waits(asked, settings)
        # OpenAI's clients know no "still loading": unless they prefer otherwise they wait, as with v0.1.10.
        patience_s = settings.wait_most_s if wait_s is None else wait_s

        async def embedded() -> EncodeAnswer:
            texts = wanted.texts or await engine.decode(wanted.model, wanted.token_ids, wait_s=patience_s)
            items = tuple(Item(text) for text in texts)
            request = EncodeRequest(items=items, output_types=("dense",), output_dtype="float32")
            return await engine.encode(wanted.model, request, wait_s=patience_s)

        answer = await _in_time(asked, embedded)
        content = await _written(len(answer.items), lambda: write_embeddings(answer, wanted))
        return _answered(content, answer.timing, wait_s, as_msgpack=False)

    @routes.get("/v1/models")
    async def models() -> Response:
        listed: list[ModelInfo] = []
        await in_turns(engine.models(), listed.append)
        content = await _written(len(listed), lambda: write_models(listed))
        return Response(content, content_type="application/json")

    @routes.get("/v1/models/<path:model>")
    async def model(model: str) -> Response:
        return Response(write_model(engine.model(model)), content_type="application/json")

    async def body_for(asked: Asked, model: str) -> bytes:
        """What can be refused without the body is refused before it is read."""
        await admit(asked.headers)
        check_machine_profile(asked.headers, settings.machine_profile)
        with knowing_enough(asked):
            engine.require(model)
        return await asked.read_body(settings.request_body_bytes)

    def knowing_enough(asked: Asked) -> Knowing:
        return Knowing(model_revision(asked.headers), engine.known_to)

    return routes


def _waits(asked: Asked, settings: Settings) -> float | None:
    return prefer_wait(asked.headers, settings.wait_most_s)


def _as_msgpack(asked: Asked) -> bool:
    return wants_msgpack(joined(asked.headers, "Accept"))


async def _in_time(asked: Asked, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer, unless the time that the request gave itself runs out first."""
    if (seconds := timeout_s(asked.headers)) is None:
        return await ask()
    with trio.move_on_after(seconds):
        return await ask()
    raise DeadlineExceeded(f"No answer within the {asked.headers.get('X-SIE-Timeout-Ms')} ms of X-SIE-Timeout-Ms")


async def _read(body: bytes, read: Callable[[], Answer]) -> Answer:
    """In a thread, where it would keep everybody else waiting."""
    return read() if len(body) <= _READ_AT_ONCE else await trio.to_thread.run_sync(read)


async def _written(items: int, write: Callable[[], bytes]) -> bytes:
    """As `_read`."""
    return write() if items <= _WRITTEN_AT_ONCE else await trio.to_thread.run_sync(write)


def _answered(content: bytes, timing: Timing, wait_s: float | None, *, as_msgpack: bool) -> Reply:
    headers = list(timing_headers(timing).items())
    if wait_s is not None:
        headers.append(("Preference-Applied", f"wait={wait_s:g}"))
    return Reply(content, headers=headers, content_type=f"application/{'msgpack' if as_msgpack else 'json'}")
