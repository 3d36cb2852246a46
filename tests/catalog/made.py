"""What the tests of the catalog are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sie.catalog.bundle import Bundle
from sie.catalog.catalog import Catalog
from sie.catalog.change import ChangeLimits, read_change, read_model
from sie.catalog.document import DocumentLimits, write_document
from sie.catalog.entry import Entry
from sie.catalog.judge import Verdict, draft, judge
from sie.settings import Settings

LIMITS = ChangeLimits.of(Settings())
WIDE = DocumentLimits(body_bytes=1 << 24, yaml_events=1 << 20, yaml_depth=200)

DENSE = "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter"
SPARSE = "sie_server.adapters.splade_flash:SPLADEFlashAdapter"
ELSEWHERE = "somewhere.sglang:SGLangEmbeddingAdapter"

BUNDLES = (
    Bundle(bundle_id="sglang", priority=20, adapters=("somewhere.sglang",)),
    Bundle(
        bundle_id="default",
        priority=10,
        adapters=("sie_server.adapters.sentence_transformer", "sie_server.adapters.splade_flash"),
    ),
    Bundle(bundle_id="both", priority=30, adapters=("somewhere.sglang", "sie_server.adapters.splade_flash")),
)


def catalog(*files: Mapping[str, Any], origin: int = 0) -> Catalog:
    made = Catalog(BUNDLES, origin=origin)
    for one in files:
        made.add_file(read_model(write_document(one).encode(), name="a file"))
    return made


def entry(model_id: str, revision: int, **more: Any) -> Entry:
    given = {"profiles": {}, "fields": {}, **more}
    return Entry(model_id=model_id, revision=revision, write_id=f"w{revision}", time="", router_id="r", **given)


def post(to: Catalog, body: bytes | Mapping[str, Any], *, key: str | None = None, **options: Any) -> Verdict:
    """Judge a body and, if it brings anything new, apply its entry."""
    content = body if isinstance(body, bytes) else write_document(body).encode()
    change = read_change(content, LIMITS)
    verdict = judge(to, change, LIMITS, **options)
    if verdict.changes:
        written = draft(verdict, write_id="w", time="", router_id="r", body_hash=change.body_hash, idempotency_key=key)
        to.advance(written.placed(to.head + 1))
    return verdict


def state(of: Catalog) -> Any:
    """Everything a catalog answers, in comparable form."""
    return (
        [(one.document, list(one.profiles), dict(one.created), one.revision, one.source) for one in of.models()],
        {one: (of.digest(one), of.bundle_head(one)) for one in of.bundles},
        {one: sorted(model.sie_id for model in of.in_bundle(one)) for one in of.bundles},
        of.differing_files,
    )
