"""Telling others of a change over NATS: what the messages say beside the entry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from sie.bus.broker import BrokerLink
from sie.bus.nats import Described, NatsBus
from sie.catalog.digest import bundle_config_hash
from sie.catalog.document import write_document
from sie.router.head import Head
from sie.settings import Settings
from sie.store.open import is_shared

log = logging.getLogger(__name__)

# Models of a bundle whose hash goes out with each change: 1 us a model, while a client waits. No known reader looks at
# it, v0.1.10's workers neither; above this it is left empty.
_HASHED_MOST = 200


def nats_bus(settings: Settings, head: Head, broker: BrokerLink | None = None) -> NatsBus:
    """A router's bus; `broker` as NatsBus has it. Raises ConfigurationError for settings that can never work."""
    if settings.store_dir is None:
        log.warning("SIE_NATS_URL without SIE_CONFIG_STORE_DIR: added models are lost when this router ends")
    elif not is_shared(settings):
        log.warning("SIE_NATS_URL with a local config store: right for a single router only; share s3:// or gs://")
    return NatsBus(settings, name=head.router_id, describe=partial(_describe, head), broker=broker)


def _describe(head: Head, model_id: str, revision: int, bundles: Sequence[str]) -> Described:
    """What messages about a model say beside it, for readers of SIE v0.1.10."""
    model = head.catalog.find(model_id)
    assert model is not None, "an entry is published once it is applied"
    return Described(
        model_config=write_document(model.document),
        epoch=revision + (head.catalog.imported_epoch or 0),
        bundle_config_hashes={
            bundle: bundle_config_hash(head.catalog.in_bundle(bundle))
            for bundle in bundles
            if head.catalog.bundle_size(bundle) <= _HASHED_MOST
        },
    )
