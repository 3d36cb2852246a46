"""For workers of SIE v0.1.10, which confirm by hash alone: what each of their bundles hashes to."""

from __future__ import annotations

from sie.router.plane import ConfigPlane


async def keep_hashes(plane: ConfigPlane) -> None:
    """Note the hash of every bundle such a worker serves, after each change, off the loop. Until cancelled.

    Those workers say how they stand five times a second, which is when this looks. Without any, it costs nothing.
    """
    noted: dict[str, int] = {}
    while True:
        served = {one.bundle for one in plane.fleet.workers if one.by_hash}
        for bundle in served & set(plane.head.catalog.bundles):
            revision = plane.head.revision
            if noted.get(bundle) != revision:
                plane.fleet.note_hash(bundle, await plane.config_hash(bundle), revision)
                noted[bundle] = revision
        await plane.fleet.wait_changed()
