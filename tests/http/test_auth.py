"""The page's matrix of tokens and operations, and nothing that tells a token."""

from __future__ import annotations

import hashlib

import pytest
from werkzeug.datastructures import Headers

from sie.errors import Forbidden, Unauthorized
from sie.http.auth import Access, fingerprint

OPEN, KNOWN, STRANGER, READER = "open", "known", Unauthorized, Forbidden


def outcome(access: Access, operation: str, sent: str | None) -> object:
    headers = Headers({} if sent is None else {"Authorization": sent})
    try:
        found = access.require_read(headers) if operation == "read" else access.require_write(headers)
    except (Unauthorized, Forbidden) as refusal:
        return type(refusal)
    return OPEN if found is None else KNOWN


@pytest.mark.parametrize(
    ("auth", "admin", "operation", "nothing", "auth_sent", "admin_sent", "other_sent"),
    [
        (None, None, "read", OPEN, OPEN, OPEN, OPEN),
        (None, None, "write", OPEN, OPEN, OPEN, OPEN),
        ("reader", None, "read", STRANGER, KNOWN, STRANGER, STRANGER),
        ("reader", None, "write", STRANGER, READER, STRANGER, STRANGER),
        (None, "chief", "read", STRANGER, STRANGER, KNOWN, STRANGER),
        (None, "chief", "write", STRANGER, STRANGER, KNOWN, STRANGER),
        ("reader", "chief", "read", STRANGER, KNOWN, KNOWN, STRANGER),
        ("reader", "chief", "write", STRANGER, READER, KNOWN, STRANGER),
    ],
)
def test_the_documented_matrix(
    auth: str | None,
    admin: str | None,
    operation: str,
    nothing: object,
    auth_sent: object,
    admin_sent: object,
    other_sent: object,
) -> None:
    access = Access(auth_token=auth, admin_token=admin)
    assert access.open == (auth is None and admin is None)
    assert outcome(access, operation, None) == nothing
    assert outcome(access, operation, "Bearer reader") == auth_sent
    assert outcome(access, operation, "Bearer chief") == admin_sent
    assert outcome(access, operation, "Bearer other") == other_sent


@pytest.mark.parametrize("sent", ["Bearer reader", "bearer reader", "BEARER   reader ", " reader", "reader"])
def test_the_word_bearer_is_of_any_case_and_may_be_left_out(sent: str) -> None:
    assert outcome(Access(auth_token="reader", admin_token=None), "read", sent) == KNOWN


@pytest.mark.parametrize(
    "sent",
    ["", " ", "Bearer", "Bearer ", "Basic reader", "Bearer reader2", "Bearer Reader", "\xff\xfe", "\x00", "x" * 9_000],
)
def test_anything_else_is_unknown(sent: str) -> None:
    assert outcome(Access(auth_token="reader", admin_token=None), "read", sent) == STRANGER


def test_a_token_beyond_ascii_is_compared_as_its_utf_8() -> None:
    as_http_shows_it = "geheim-ß".encode().decode("latin-1")
    access = Access(auth_token=None, admin_token="geheim-ß")
    assert outcome(access, "write", f"Bearer {as_http_shows_it}") == KNOWN
    assert outcome(access, "write", "Bearer geheim-\u20ac") == STRANGER


def test_an_empty_token_is_no_token() -> None:
    assert Access(auth_token="", admin_token="").open


def test_one_token_for_both_may_do_both() -> None:
    access = Access(auth_token="same", admin_token="same")
    assert outcome(access, "write", "Bearer same") == outcome(access, "read", "Bearer same") == KNOWN


def test_what_is_told_of_a_token_is_twelve_digits_of_its_sha_256() -> None:
    access = Access(auth_token=None, admin_token="chief")
    told = access.require_write(Headers({"Authorization": "Bearer chief"}))
    assert told == fingerprint("chief") == hashlib.sha256(b"chief").hexdigest()[:12]


def test_no_token_is_in_a_repr_or_in_an_error() -> None:
    access = Access(auth_token="s3cret-r", admin_token="s3cret-a")
    assert "s3cret" not in repr(vars(access)) + repr(access)
    for sent in ("Bearer s3cret-r", "Bearer s3cret-other"):
        with pytest.raises((Unauthorized, Forbidden)) as caught:
            access.require_write(Headers({"Authorization": sent}))
        assert "s3cret" not in repr(caught.value.fields) + str(caught.value)
