# Rule 1: an error says what the caller did or met; it knows nothing of HTTP. Status, code and envelope
#         stand in one table, sie/wire/envelope.py, and a test holds that every error here is in it.
# Rule 2: a message names the field and the cure. Nothing secret is ever part of one.
"""Everything that can go wrong, as one small tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class SieError(Exception):
    """The root. `fields` are facts a client may read by key, beside the message it may show."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields: Mapping[str, Any] = {key: value for key, value in fields.items() if value is not None}


# -- the request itself -------------------------------------------------------------------------


class Unauthorized(SieError):
    """No token, or one that is not known."""


class Forbidden(SieError):
    """A known token that may not do this."""


class RouteNotFound(SieError):
    """No such path."""


class MethodNotAllowed(SieError):
    """The path exists, the method does not. `allow`: the methods that do."""


class PayloadTooLarge(SieError):
    """The body is larger than its limit. `limit_bytes`."""


class RequestTooSlow(SieError):
    """The body did not arrive in its time. `limit_s`."""


class ParseError(SieError):
    """The body is not one well-formed YAML (or JSON, or msgpack) document of the right outer shape."""


class MissingField(SieError):
    """A JSON body lacks a field that is required, or has it with another type. `field`."""


# -- the Config API -----------------------------------------------------------------------------


class InvalidModelId(SieError):
    """The id breaks a rule of ids. `model_id`, shortened."""


class ValidationError(SieError):
    """Well-formed, and wrong. `details`: every fault found, each `{"path", "message"}`."""

    def __init__(self, message: str, details: Sequence[Mapping[str, str]], **fields: Any) -> None:
        super().__init__(message, details=[dict(one) for one in details], **fields)


class ContentConflict(SieError):
    """Something that exists is said differently. `model_id`, `conflicting_profiles`, `conflicting_fields`."""


class IdempotencyMismatch(SieError):
    """The Idempotency-Key was used with another body. `idempotency_key`."""


class BusUnavailable(SieError):
    """The bus (NATS) is configured and not connected: nothing was stored."""


class StoreUnavailable(SieError):
    """The config store could not be read, or refused a write that therefore did not happen."""


class OutcomeUnknown(StoreUnavailable):
    """The store fell silent after the write was sent. `outcome` is "unknown"; a retry of the same body is safe."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message, outcome="unknown", **fields)


class StoreCorrupt(StoreUnavailable):
    """Something in the store is torn, foreign, missing or of an unknown format. `name`: which object."""


class StoreReplaced(StoreCorrupt):
    """Another store lies at the address than the one that was read: it was wiped and somebody began it anew."""


class CatalogBehind(SieError):
    """The revision asked for (X-SIE-Min-Revision) has not arrived here in time. `lag`."""


class RevisionGone(SieError):
    """A watch cannot go on from where it asks to. `store`, `head`: what it can start anew from."""


# -- models and bundles, asked for by name ------------------------------------------------------


class InvalidModelSpec(SieError):
    """Not of the form `[bundle:/]org/model[:profile]`."""


class ModelNotFound(SieError):
    """No such model. `model`."""


class BundleNotFound(SieError):
    """No such bundle. `bundle_id`."""


class BundleConflict(SieError):
    """The model does not run in the bundle asked for. `model`, `bundle`, `compatible_bundles`."""


# -- inference ----------------------------------------------------------------------------------


class InvalidInput(SieError):
    """A request for inference that can never work as sent. `path`: which part of it, where one is to blame."""


class ProfileNotFound(InvalidInput):
    """The model is known and has no such profile."""


class ModelLoading(SieError):
    """Not resident yet; loading has begun. `retry_after_s`: when to ask again."""


class ModelLoadFailed(SieError):
    """Loading was tried and failed. `reason`; `retry_after_s`: when a request will try again."""


class QueueFull(SieError):
    """More work is waiting than may wait. `retry_after_s`."""


class DeadlineExceeded(SieError):
    """The request's own time ran out before its turn on the device."""


class InferenceFailed(SieError):
    """The adapter raised while it ran the batch this request was in."""


class GpuNotConfigured(SieError):
    """A machine profile that this cluster never has. `gpu`, `configured_gpu_types`."""


class NoWorkers(SieError):
    """No worker of the bundle is there. `bundle`, `retry_after_s`."""


class WorkerUnreachable(SieError):
    """The connection to the worker failed before an answer began, and no other could be tried. `worker`."""


class WorkerSilent(SieError):
    """The worker took the request and answered nothing in its time. `worker`."""


class ShuttingDown(SieError):
    """The process is on its way out and takes nothing new. `retry_after_s`."""


# -- inside a process: never shown to a client --------------------------------------------------


class RevisionTaken(Exception):
    """Somebody's entry already has this number: read on, judge again."""


class ConfigurationError(Exception):
    """The settings, or a file they point to, cannot be worked with: said at start, and the process ends."""
