"""Requests that must be refused, and the same without their one fault. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FAULTY = (400, 409, 413, 422)  # refused for what is said, not for who says it
BODIES = frozenset({"body", "json", "base64", "repeat"})


def is_refusal(step: Mapping[str, Any]) -> bool:
    """Whether a step is a POST to the models that may be refused."""
    to_models = step.get("post", "").partition("?")[0] == "/v1/configs/models"
    return to_models and any(400 <= one < 500 for one in _statuses(step))


def must_be_cured(step: Mapping[str, Any]) -> bool:
    """Whether a step is refused for what it says, so that another fault could hide behind the one it is about."""
    return is_refusal(step) and any(one in _FAULTY for one in _statuses(step))


def cure(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """The refused request without its one fault."""
    cured = step["cured"]
    changed = {"body": cured} if isinstance(cured, str) else cured
    kept = {key: value for key, value in step.items() if not (key in BODIES and BODIES & changed.keys())}
    return {**kept, **changed}


def _statuses(step: Mapping[str, Any]) -> list[int]:
    status = step.get("expect", {}).get("status")
    return [one for one in (status if isinstance(status, list) else [status]) if isinstance(one, int)]
