"""Names: which ones models, profiles and bundles may have. All of them end up in paths, subjects and file names."""

from __future__ import annotations

import re

from sie.catalog.faults import shown
from sie.errors import InvalidModelId

_MODEL_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/-]*")
_MODEL_ID_CHARS = 256
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BUNDLE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

PROFILE_NAME_RULE = "a profile's name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit"
BUNDLE_ID_RULE = "a bundle's name is 1 to 64 of A-Z a-z 0-9 _ - and begins with a letter or digit"


def check_model_id(text: str) -> None:
    """Raises InvalidModelId, naming the rule and the id, shortened and with control characters escaped."""
    rule = _broken_rule(text)
    if rule is not None:
        raise InvalidModelId(f"{shown(text)!r}: {rule}", model_id=shown(text))


def _broken_rule(text: str) -> str | None:
    if len(text) > _MODEL_ID_CHARS:
        return f"an id has at most {_MODEL_ID_CHARS} characters"
    if _MODEL_ID.fullmatch(text) is None:
        return "an id consists of A-Z a-z 0-9 . _ / - and begins with a letter or digit"
    segments = text.split("/")
    if ".." in text or "." in segments:
        return "an id has no '..' and no '.' as a segment"
    if "__" in text:
        return "an id has no '__', which stands for '/' in file names"
    if "" in segments:
        return "an id has no empty segment: no '//' and no '/' at its end"
    if segments[-1].lower() == "status":
        return "the last segment 'status' is reserved"
    return None


def is_profile_name(text: str) -> bool:
    return _PROFILE_NAME.fullmatch(text) is not None


def is_bundle_id(text: str) -> bool:
    """One token of a NATS subject that no subject of ours uses otherwise (`_all`), and no part of a model spec."""
    return _BUNDLE_ID.fullmatch(text) is not None
