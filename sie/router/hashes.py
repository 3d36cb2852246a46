"""For workers of SIE v0.1.10, which confirm by hash alone: what each of their bundles hashes to."""

from __future__ import annotations

from sie.router.plane import ConfigPlane


async def keep_hashes(plane: ConfigPlane) -> None:
    """Note the hash of every bundle such a worker serves, after each change, off the loop. Until cancelled.

    Those workers say how they stand five times a second, which is when this looks. Without any, it costs nothing.
    """
    noted: dict[str, tuple[str, int, str]] = {}
    while True:
        served = {one.bundle for one in plane.fleet.workers if one.by_hash}
        for bundle in served & set(plane.head.catalog.bundles):
            store, revision = plane.head.store_id, plane.head.revision
            now = store, revision, plane.head.catalog.digest(bundle)
            if noted.get(bundle) != now:
                plane.fleet.note_hash(bundle, await plane.config_hash(bundle), store=store, revision=revision)
                noted[bundle] = now
        await plane.fleet.wait_changed()
