"""Snapshots: the fold of all entries up to a revision, as bytes, so that a start need not read them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sie.catalog.canonical import sha256_hex
from sie.catalog.catalog import Catalog
from sie.catalog.keys import Keys, Remembered
from sie.catalog.model import Model, Profile
from sie.errors import StoreCorrupt

FORMAT = 1

# The checksum stands before what it sums, at a fixed place: {"format":1,"sha256":"<64 hex>","content":{...}}
_HEAD = b'{"format":%d,"sha256":"%s","content":'
_HEAD_BYTES = len(_HEAD % (FORMAT, b"0" * 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Frozen values throughout: taken at once, it can be written in a thread while its catalog goes on."""

    revision: int
    imported_epoch: int | None
    models: Sequence[Model]
    keys: Sequence[tuple[str, Remembered]]

    @staticmethod
    def of(catalog: Catalog, keys: Keys) -> Snapshot:
        return Snapshot(
            revision=catalog.head,
            imported_epoch=catalog.imported_epoch,
            models=catalog.logged(),
            keys=keys.items(),
        )

    def restore(self, catalog: Catalog, keys: Keys) -> None:
        """Into ones that have taken in no entry yet; the catalog may hold files."""
        catalog.restore(self.revision, self.models)
        catalog.imported_epoch = self.imported_epoch
        keys.restore(self.keys)


def write_logged(model: Model) -> dict[str, Any]:
    """A model as entries made it, for snapshots and for who catches up."""
    return {
        "sie_id": model.sie_id,
        "source": model.source,
        "revision": model.revision,
        "fields": model.fields,
        # A list, for the order of profiles is part of a model.
        "profiles": [[name, model.created[name], one.content] for name, one in model.profiles.items()],
    }


def write_snapshot(snapshot: Snapshot) -> bytes:
    """About 10 microseconds a model: for a large catalog, call it in a thread."""
    # One by one, for no other thread runs inside one `dumps`.
    models = (orjson.dumps(write_logged(one)) for one in snapshot.models)
    keys = (
        orjson.dumps([key, one.body_hash, one.status, one.created, one.skipped, one.revision, one.model_id])
        for key, one in snapshot.keys
    )
    content = b'{"revision":%d,"imported_epoch":%s,"models":[%s],"keys":[%s]}' % (
        snapshot.revision,
        orjson.dumps(snapshot.imported_epoch),
        b",".join(models),
        b",".join(keys),
    )
    return b"".join((_HEAD % (FORMAT, sha256_hex(content).encode()), content, b"}"))


def read_snapshot(content: bytes, *, name: str = "snapshot") -> Snapshot:
    """Bytes to a snapshot; `name` says where they lay. Raises StoreCorrupt: torn, foreign, or of an unknown format."""
    try:
        raw = orjson.loads(content)
        found = raw["format"]
        if found != FORMAT:
            raise StoreCorrupt(f"{name} has format {found!r} and this build reads {FORMAT}: upgrade", name=name)
        if raw["sha256"] != sha256_hex(content[_HEAD_BYTES:-1]):
            raise StoreCorrupt(f"{name} is damaged: its checksum does not fit", name=name)
        inner = raw["content"]
        return Snapshot(
            revision=inner["revision"],
            imported_epoch=inner["imported_epoch"],
            models=[_model(one) for one in inner["models"]],
            keys=[_key(*one) for one in inner["keys"]],
        )
    except (ValueError, KeyError, TypeError) as fault:
        raise StoreCorrupt(f"{name} is torn or not ours: {fault!r}", name=name) from None


def _model(raw: dict[str, Any]) -> Model:
    return Model(
        sie_id=raw["sie_id"],
        fields=raw["fields"],
        profiles={name: Profile(name, content) for name, _, content in raw["profiles"]},
        source=raw["source"],
        revision=raw["revision"],
        created={name: revision for name, revision, _ in raw["profiles"]},
    )


def _key(
    key: str, body_hash: str, status: int, created: list[str], skipped: list[str], revision: int, model_id: str
) -> tuple[str, Remembered]:
    return key, Remembered(
        body_hash=body_hash,
        status=status,
        created=tuple(created),
        skipped=tuple(skipped),
        revision=revision,
        model_id=model_id,
    )
