"""How a router shows itself to its workers: by its own token, never by a client's."""

from __future__ import annotations

from collections.abc import Mapping

from sie.settings import Settings


def bearer(settings: Settings) -> Mapping[str, str]:
    """The Authorization header; none where no token is set. Workers take either token, so the lesser one is shown."""
    token = settings.auth_token or settings.admin_token
    return {"Authorization": f"Bearer {token}"} if token else {}
