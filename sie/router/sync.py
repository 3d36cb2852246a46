"""What those who catch up are told: the part of each store that they lack."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import trio

from sie.catalog.model import Model
from sie.router.head import Head
from sie.wire.notification import ALL
from sie.worker.follow import CaughtUp, Part


async def catch_up(head: Head, bundle: str, known: Mapping[str, int], digest: str = "") -> CaughtUp:
    """What a follower of the bundle lacks who knows each store up to that revision; `bundle` may be `_all`.

    `digest`: what it knows hashes to, "" if that does not matter. Where it knows as much as there is and has something
    else, what differs cannot be told, so all of it is said again; as it is to who claims to know more than there is.
    """
    await trio.lowlevel.checkpoint()
    catalog = head.catalog
    if bundle not in catalog.bundles and bundle != ALL:
        return CaughtUp(parts=[Part(store=head.store_id, revision=head.revision, models=(), whole=True)])
    own = head.revision if bundle == ALL else catalog.bundle_head(bundle)
    heads = {head.store_id: own, **head.foreign.known}
    level = known.keys() == heads.keys() and all(known[store] >= heads[store] for store in heads)
    anew = level and bool(digest) and bundle != ALL and digest != catalog.digest(bundle)
    anew = anew or known.get(head.store_id, 0) > head.revision
    if level and not anew:  # as most askers are, now and then: no walk through the catalog for them
        return CaughtUp(parts=[Part(store=store, revision=revision, models=()) for store, revision in heads.items()])
    members = None if bundle == ALL else [model.sie_id for model in catalog.in_bundle(bundle)]
    parts = []
    for store, revision in heads.items():
        since = -1 if anew else known.get(store, -1)
        models = [one for one in _logged(head, store, members) if one.revision > since]
        parts.append(Part(store=store, revision=revision, models=models, whole=since < 0))
    return CaughtUp(parts=parts)


def _logged(head: Head, store: str, members: Collection[str] | None) -> Iterator[Model] | Sequence[Model]:
    """What the store's entries make of these models, or of all."""
    catalog = head.catalog
    if members is not None:
        return (model for one in members if (model := catalog.part(store, one)) is not None)
    return catalog.logged() if store == head.store_id else list(catalog.others().get(store, {}).values())
