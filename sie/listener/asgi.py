"""The names of ASGI 3, as far as a listener needs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Any: frameworks type their scopes and messages each in their own way.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
