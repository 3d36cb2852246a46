"""A change: what one POST asks for, read and checked as far as that goes without knowing what exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sie.catalog.canonical import Json, sha256_hex
from sie.catalog.document import FILE_LIMITS, DocumentLimits, read_document
from sie.catalog.faults import Faults, listed
from sie.catalog.ids import check_model_id
from sie.catalog.inheritance import check_inheritance
from sie.catalog.model import Model, Profile
from sie.catalog.schema import FILE_SCHEMA, api_schema
from sie.errors import ConfigurationError, SieError, ValidationError

if TYPE_CHECKING:
    from sie.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLimits:
    """What a change may cost, and where it may point.

    `model_bytes` and `profiles` hold for the model as it would be after the change. `weights_root`: the directory
    every `weights_path` must lie under; None: the API takes no such path.
    """

    document: DocumentLimits
    model_bytes: int
    profiles: int
    weights_root: str | None = None

    @staticmethod
    def of(settings: Settings) -> ChangeLimits:
        return ChangeLimits(
            document=DocumentLimits(
                body_bytes=settings.config_body_bytes,
                yaml_events=settings.config_yaml_events,
                yaml_depth=settings.config_yaml_depth,
            ),
            model_bytes=settings.model_bytes,
            profiles=settings.model_profiles,
            weights_root=str(settings.weights_root) if settings.weights_root is not None else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is asked for: fields and profiles normalised, profiles in document order. `body_hash`: hex SHA-256."""

    model_id: str
    fields: Mapping[str, Json]
    profiles: Mapping[str, Profile]
    body_hash: str


def read_change(body: bytes, limits: ChangeLimits) -> Change:
    """Raises, in this order: PayloadTooLarge, ParseError, InvalidModelId, ValidationError with every fault."""
    document = read_document(body, limits=limits.document)
    faults = Faults(document.faults)
    model_id = _read_id(document.value, faults)
    fields, profiles = api_schema(limits.weights_root).read(document.value, faults)
    if len(profiles) > limits.profiles:
        faults.add("profiles", f"{len(profiles)} profiles, and a model may have {limits.profiles}")
    if faults:
        raise faults.error(document.hint)
    return Change(model_id=model_id, fields=fields, profiles=profiles, body_hash=sha256_hex(body))


def read_stored(content: bytes) -> Change:
    """A document of a store of SIE v0.1.10, which checked little: read as leniently as a file.

    Raises ParseError, InvalidModelId, ValidationError.
    """
    document = read_document(content, limits=FILE_LIMITS, cure_newlines=False)
    faults = Faults(document.faults)
    model_id = _read_id(document.value, faults)
    fields, profiles = FILE_SCHEMA.read(document.value, faults)
    if faults:
        raise faults.error()
    return Change(model_id=model_id, fields=fields, profiles=profiles, body_hash=sha256_hex(content))


def read_model(content: bytes, *, name: str) -> Model:
    """A model file. Raises ConfigurationError, naming it and everything wrong with it.

    As strict as the API, except that files may name adapters of any kind and weights anywhere.
    """
    try:
        change = read_stored(content)
        faults = Faults()
        check_inheritance(change.profiles, change.profiles, faults)
        if faults:
            raise faults.error()
    except ValidationError as fault:
        raise ConfigurationError(f"{name}: {listed(fault.fields['details'])}") from None
    except SieError as fault:
        raise ConfigurationError(f"{name}: {fault.message}") from None
    return Model(
        sie_id=change.model_id,
        fields=change.fields,
        profiles=change.profiles,
        source="filesystem",
        created=dict.fromkeys(change.profiles, 0),
    )


def _read_id(document: Mapping[str, Json], faults: Faults) -> str:
    """Raises InvalidModelId; an absent one is a fault like any other."""
    given = document.get("sie_id")
    if not isinstance(given, str) or not given:
        faults.add("sie_id", "is required: the model's id, as text")
        return ""
    check_model_id(given)
    return given
