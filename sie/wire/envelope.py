# Rule 1: nothing under sie/wire awaits, reads a clock, or knows a transport. A test enforces it.
# Rule 2: this table is the only place that gives an error a status and a code.
"""Errors as clients read them: one table of status and code, three envelopes around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sie import errors


@dataclass(frozen=True, slots=True)
class Row:
    """`code` as the config routes write it; inference says the same word in capitals."""

    status: int
    code: str


# What is permanent is never 503: clients of v0.1.10 repeat any 503 for fifteen minutes.
TABLE: Mapping[type[errors.SieError], Row] = {
    errors.Unauthorized: Row(401, "unauthorized"),
    errors.Forbidden: Row(403, "forbidden"),
    errors.RouteNotFound: Row(404, "not_found"),
    errors.MethodNotAllowed: Row(405, "method_not_allowed"),
    errors.RequestTooSlow: Row(408, "request_timeout"),
    errors.PayloadTooLarge: Row(413, "payload_too_large"),
    errors.ParseError: Row(400, "parse_error"),
    errors.MissingField: Row(400, "missing_field"),
    errors.InvalidModelId: Row(400, "invalid_model_id"),
    errors.ValidationError: Row(422, "validation_error"),
    errors.ContentConflict: Row(409, "content_conflict"),
    errors.IdempotencyMismatch: Row(422, "idempotency_mismatch"),
    errors.BusUnavailable: Row(503, "nats_unavailable"),
    errors.StoreUnavailable: Row(503, "config_store_unavailable"),
    errors.OutcomeUnknown: Row(503, "config_store_unavailable"),
    errors.StoreCorrupt: Row(503, "config_store_unavailable"),
    errors.StoreReplaced: Row(503, "config_store_unavailable"),
    errors.CatalogBehind: Row(503, "config_behind"),
    errors.RevisionGone: Row(410, "revision_gone"),
    errors.InvalidModelSpec: Row(400, "invalid_model_spec"),
    errors.ModelNotFound: Row(404, "model_not_found"),
    errors.BundleNotFound: Row(404, "bundle_not_found"),
    errors.BundleConflict: Row(409, "bundle_conflict"),
    errors.InvalidInput: Row(400, "invalid_input"),
    errors.ProfileNotFound: Row(400, "invalid_input"),
    errors.ModelLoading: Row(503, "model_loading"),
    errors.ModelLoadFailed: Row(502, "model_load_failed"),
    errors.QueueFull: Row(503, "queue_full"),
    errors.DeadlineExceeded: Row(504, "deadline_exceeded"),
    errors.InferenceFailed: Row(500, "inference_error"),
    errors.GpuNotConfigured: Row(400, "gpu_not_configured"),
    errors.NoWorkers: Row(503, "no_workers"),
    errors.WorkerUnreachable: Row(502, "worker_unreachable"),
    errors.WorkerSilent: Row(504, "worker_silent"),
    errors.ShuttingDown: Row(503, "shutting_down"),
}
UNFORESEEN = Row(500, "internal_error")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error, ready to be sent: `body` is for JSON."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


Envelope: TypeAlias = Callable[[Exception], ErrorAnswer]


def config_answer(error: Exception) -> ErrorAnswer:
    """The documented envelope. `detail` says all of it again, for clients of v0.1.10, which wrapped everything so."""
    row, message, fields = _read(error)
    content = {**fields, "error": row.code, "message": message}
    return ErrorAnswer(row.status, _headers(row, row.code, fields), {**content, "detail": content})


def inference_answer(error: Exception) -> ErrorAnswer:
    """`{"detail": {"code", "message", ...}}`, and no `error` at the top: the SDK stops at one and loses the code."""
    row, message, fields = _read(error)
    code = row.code.upper()
    return ErrorAnswer(
        row.status, _headers(row, code, fields), {"detail": {**fields, "code": code, "message": message}}
    )


def openai_answer(error: Exception) -> ErrorAnswer:
    """What OpenAI's clients read; `param` is the part of the request to blame, where one is."""
    row, message, fields = _read(error)
    body = {"message": message, "type": _openai_type(row.status), "param": fields.get("path"), "code": row.code}
    return ErrorAnswer(row.status, _headers(row, row.code, fields), {"error": body})


def envelope_for(path: str) -> Envelope:
    """Which envelope the clients of a path read."""
    if path == "/v1/embeddings":
        return openai_answer
    if path.startswith("/v1/") and not path.startswith("/v1/configs"):
        return inference_answer
    return config_answer


def _read(error: Exception) -> tuple[Row, str, Mapping[str, Any]]:
    if isinstance(error, errors.SieError):
        for kind in type(error).__mro__:
            if kind in TABLE:
                return TABLE[kind], error.message, error.fields
    # Whatever else it says is for the log: a stranger's error text may hold anything.
    return UNFORESEEN, "Internal server error", {}


def _headers(row: Row, code: str, fields: Mapping[str, Any]) -> Mapping[str, str]:
    headers = {"X-SIE-Error-Code": code}
    if "retry_after_s" in fields:
        headers["Retry-After"] = str(max(1, math.ceil(fields["retry_after_s"])))
    if row.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if "allow" in fields:
        headers["Allow"] = ", ".join(fields["allow"])
    return headers


def _openai_type(status: int) -> str:
    match status:
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case _ if status < 500:
            return "invalid_request_error"
    return "server_error"
