"""SIE's Config API and the engine under it, on Trio.

Read `sie/flow.py` first: one change, from POST to response. Then `sie/engine.py`, which puts one process together.

    async with sie.open_engine(settings) as engine:    the engine, without HTTP
    await nursery.start(sie.serve, settings)           the same behind HTTP; the value is the bound address
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sie.engine import Engine as Engine
    from sie.engine import open_engine as open_engine
    from sie.service import serve as serve
    from sie.settings import Settings as Settings

_HOMES = {
    "Engine": "sie.engine",
    "open_engine": "sie.engine",
    "serve": "sie.service",
    "Settings": "sie.settings",
}

__all__ = ["Engine", "Settings", "open_engine", "serve"]


def __getattr__(name: str) -> Any:
    # Late, so that `sie --help` and a router that only wants one module do not read everything.
    if name not in _HOMES:
        raise AttributeError(f"module 'sie' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
