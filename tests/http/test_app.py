"""Whatever happens is answered in JSON, in the envelope of its path, with our version on it."""

from __future__ import annotations

import logging

import pytest

from tests.http.conftest import OpenSite


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/v1/configs/nope", 404, "not_found"),
        ("GET", "/v1/nope", 404, "NOT_FOUND"),
        ("GET", "//", 404, "not_found"),
        ("GET", "/v1//models", 404, "NOT_FOUND"),
        ("GET", "/v1/models/", 404, "NOT_FOUND"),
        ("POST", "/plain", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/embeddings", 405, "method_not_allowed"),
        ("GET", "/v1/configs/broken", 500, "internal_error"),
        ("GET", "/v1/encode/broken", 500, "INTERNAL_ERROR"),
        ("GET", "/grouped", 500, "internal_error"),
    ],
)
async def test_every_refusal_is_json_with_its_code_and_our_version(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture, method: str, path: str, status: int, code: str
) -> None:
    site = await open_site()
    async with site.client() as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-sie-error-code"] == code
    assert answer.headers["x-sie-server-version"]
    assert code in answer.text
    assert "hunter2" not in answer.text
    assert ("Allow" in answer.headers) == (status == 405)
    # What the client is not told is in the log, and only what was unforeseen is.
    assert any(record.exc_info for record in caplog.records if record.levelno >= logging.ERROR) == (status == 500)


async def test_a_good_answer_carries_our_version_too(open_site: OpenSite) -> None:
    site = await open_site()
    async with site.client() as client:
        assert (await client.get("/plain")).headers["x-sie-server-version"]


@pytest.mark.parametrize("target", [b"*", b"http://host/plain", b"/%ff%00%2e%2e/x", b"/plain%0d%0aX:y"])
async def test_odd_targets_are_answered_like_any_other(open_site: OpenSite, target: bytes) -> None:
    site = await open_site()
    said = await site.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.startswith((b"HTTP/1.1 404", b"HTTP/1.1 200"))
    assert b"x-sie-server-version" in said


@pytest.mark.parametrize("said", [b"GET ?x", b"GET a:b", b"BREW /plain"])
async def test_what_is_no_request_never_reaches_a_route(open_site: OpenSite, server: str, said: bytes) -> None:
    """The listener refuses it; hypercorn lets it through to be refused."""
    site = await open_site()
    answer = await site.send(said + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400" if server == "listener" else (b"HTTP/1.1 404", b"HTTP/1.1 405"))
    assert await site.is_well()
