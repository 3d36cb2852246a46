"""How a fault is planted."""

from __future__ import annotations

from typing import Any


def patch(where: Any, **replacements: Any) -> None:
    """Replace these attributes of a module or class, in this process, for good."""
    for name, replacement in replacements.items():
        setattr(where, name, replacement)
