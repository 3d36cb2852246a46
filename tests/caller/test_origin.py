"""Where a URL leads."""

from __future__ import annotations

import pytest

from sie.caller.origin import Origin


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://worker:8080", Origin(False, "worker", 8080, b"worker:8080")),
        ("http://Worker/path?query", Origin(False, "worker", 80, b"worker")),
        ("http://worker:80", Origin(False, "worker", 80, b"worker")),
        ("https://worker", Origin(True, "worker", 443, b"worker")),
        ("https://worker:80", Origin(True, "worker", 80, b"worker:80")),
        ("http://10.0.0.1:1", Origin(False, "10.0.0.1", 1, b"10.0.0.1:1")),
        ("http://[::1]:1", Origin(False, "::1", 1, b"[::1]:1")),
        ("http://[fe80::1%eth0]", Origin(False, "fe80::1%eth0", 80, b"[fe80::1]")),
        ("http://user:secret@worker", Origin(False, "worker", 80, b"worker")),
        ("http://bücher.example", Origin(False, "xn--bcher-kva.example", 80, b"xn--bcher-kva.example")),
    ],
)
def test_the_host_is_read_as_it_is_written(url: str, origin: Origin) -> None:
    assert Origin.of(url) == origin


@pytest.mark.parametrize("url", ["", "worker:80", "ftp://worker", "http://", "http://worker:x", "http://worker:99999"])
def test_what_has_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Origin.of(url)
