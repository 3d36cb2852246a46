"""Every error has its place in the one table, and each envelope is what its clients read."""

from __future__ import annotations

from typing import Any

import pytest

from sie import errors
from sie.wire.envelope import TABLE, UNFORESEEN, config_answer, envelope_for, inference_answer, openai_answer


def leaves(kind: type[errors.SieError]) -> list[type[errors.SieError]]:
    below = kind.__subclasses__()
    return [leaf for one in below for leaf in leaves(one)] if below else [kind]


@pytest.mark.parametrize("kind", leaves(errors.SieError), ids=lambda kind: kind.__name__)
def test_every_leaf_of_the_error_tree_has_a_row_of_its_own(kind: type[errors.SieError]) -> None:
    assert kind in TABLE


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.ParseError("m"), 400, "parse_error"),
        (errors.MissingField("m"), 400, "missing_field"),
        (errors.InvalidModelId("m"), 400, "invalid_model_id"),
        (errors.ValidationError("m", [{"path": "a", "message": "b"}]), 422, "validation_error"),
        (errors.ContentConflict("m"), 409, "content_conflict"),
        (errors.IdempotencyMismatch("m"), 422, "idempotency_mismatch"),
        (errors.PayloadTooLarge("m"), 413, "payload_too_large"),
        (errors.BusUnavailable("m"), 503, "nats_unavailable"),
        (errors.StoreUnavailable("m"), 503, "config_store_unavailable"),
        (errors.OutcomeUnknown("m"), 503, "config_store_unavailable"),
        (errors.StoreCorrupt("m", name="log/1.json"), 503, "config_store_unavailable"),
        (errors.ModelNotFound("m"), 404, "model_not_found"),
        (errors.BundleNotFound("m"), 404, "bundle_not_found"),
        (errors.BundleConflict("m"), 409, "bundle_conflict"),
        (errors.Unauthorized("m"), 401, "unauthorized"),
        (errors.Forbidden("m"), 403, "forbidden"),
        (errors.RouteNotFound("m"), 404, "not_found"),
        (errors.MethodNotAllowed("m", allow=["GET"]), 405, "method_not_allowed"),
        (errors.InvalidInput("m"), 400, "invalid_input"),
        (errors.ModelLoading("m", retry_after_s=1), 503, "model_loading"),
        (errors.ModelLoadFailed("m"), 502, "model_load_failed"),
        (errors.QueueFull("m", retry_after_s=1), 503, "queue_full"),
        (errors.InferenceFailed("m"), 500, "inference_error"),
        (errors.DeadlineExceeded("m"), 504, "deadline_exceeded"),
        (errors.ShuttingDown("m"), 503, "shutting_down"),
        (errors.RevisionGone("m", head=7), 410, "revision_gone"),
        (errors.GpuNotConfigured("m", gpu="l5"), 400, "gpu_not_configured"),
        (errors.NoWorkers("m", retry_after_s=5), 503, "no_workers"),
        (errors.WorkerUnreachable("m", worker="w"), 502, "worker_unreachable"),
        (errors.WorkerSilent("m", worker="w"), 504, "worker_silent"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_status_and_code_are_the_documented_ones(error: errors.SieError, status: int, code: str) -> None:
    config, inference, openai = config_answer(error), inference_answer(error), openai_answer(error)
    assert [one.status for one in (config, inference, openai)] == [status] * 3
    assert config.body["error"] == config.body["detail"]["error"] == openai.body["error"]["code"] == code
    assert inference.body["detail"]["code"] == code.upper()
    assert config.headers["X-SIE-Error-Code"] == openai.headers["X-SIE-Error-Code"] == code
    assert inference.headers["X-SIE-Error-Code"] == code.upper()


def test_what_a_retry_cannot_cure_is_never_503() -> None:
    passing = {
        errors.BusUnavailable,
        errors.StoreUnavailable,
        errors.OutcomeUnknown,
        errors.StoreCorrupt,  # an operator mends it; until then nothing was done
        errors.StoreReplaced,  # what was wiped is adopted as it is now
        errors.CatalogBehind,
        errors.ModelLoading,
        errors.NoWorkers,
        errors.QueueFull,
        errors.ShuttingDown,
    }
    assert {kind for kind, row in TABLE.items() if row.status == 503} == passing


def test_the_config_envelope_says_everything_twice_for_clients_that_look_under_detail() -> None:
    answer = config_answer(errors.ContentConflict("differs", model_id="a/b", conflicting_profiles=["default"]))
    inner = {
        "error": "content_conflict",
        "message": "differs",
        "model_id": "a/b",
        "conflicting_profiles": ["default"],
    }
    assert answer.body == {**inner, "detail": inner}


def test_an_unknown_outcome_says_so_by_key() -> None:
    assert config_answer(errors.OutcomeUnknown("silent")).body["outcome"] == "unknown"


def test_the_inference_envelope_has_no_error_at_the_top_because_the_sdk_would_stop_there() -> None:
    answer = inference_answer(errors.InvalidInput("bad", path="items[3].text"))
    assert answer.body == {"detail": {"code": "INVALID_INPUT", "message": "bad", "path": "items[3].text"}}


@pytest.mark.parametrize(
    ("error", "kind", "param"),
    [
        (errors.InvalidInput("bad", path="input[2]"), "invalid_request_error", "input[2]"),
        (errors.ModelNotFound("none"), "invalid_request_error", None),
        (errors.Unauthorized("who"), "authentication_error", None),
        (errors.Forbidden("not you"), "permission_error", None),
        (errors.QueueFull("later"), "server_error", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_openai_envelope_has_its_four_keys(error: errors.SieError, kind: str, param: str | None) -> None:
    body = openai_answer(error).body
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert (body["error"]["type"], body["error"]["param"]) == (kind, param)


@pytest.mark.parametrize(("seconds", "said"), [(0, "1"), (0.2, "1"), (1.0, "1"), (4.01, "5")])
def test_retry_after_is_whole_seconds_rounded_up_and_never_zero(seconds: float, said: str) -> None:
    assert inference_answer(errors.ModelLoading("wait", retry_after_s=seconds)).headers["Retry-After"] == said


def test_headers_that_http_asks_for_with_a_status_are_there() -> None:
    assert config_answer(errors.Unauthorized("who")).headers["WWW-Authenticate"] == "Bearer"
    assert config_answer(errors.MethodNotAllowed("no", allow=["GET", "HEAD"])).headers["Allow"] == "GET, HEAD"


class Stranger(errors.SieError):
    """Of no row."""


class KindOfLoading(errors.ModelLoading):
    """Of its parent's row."""


@pytest.mark.parametrize("envelope", [config_answer, inference_answer, openai_answer])
def test_an_unforeseen_error_is_a_500_that_tells_nothing(envelope: Any) -> None:
    secret = "postgres://root:hunter2@db"
    for error in (RuntimeError(secret), ExceptionGroup(secret, [KeyError(secret)])):
        answer = envelope(error)
        assert answer.status == UNFORESEEN.status == 500
        assert "hunter2" not in repr(answer)
    assert "internal_error" in str(config_answer(Stranger("x")).body)


def test_a_kind_of_an_error_is_answered_as_that_error() -> None:
    assert inference_answer(KindOfLoading("wait")).status == 503


@pytest.mark.parametrize(
    ("path", "envelope"),
    [
        ("/v1/configs/models", config_answer),
        ("/v1/configs", config_answer),
        ("/v1/embeddings", openai_answer),
        ("/v1/encode/org/model", inference_answer),
        ("/v1/models/org/model", inference_answer),
        ("/v1/pools", inference_answer),
        ("/nothing/here", config_answer),
    ],
)
def test_the_path_decides_the_envelope(path: str, envelope: Any) -> None:
    assert envelope_for(path) is envelope
