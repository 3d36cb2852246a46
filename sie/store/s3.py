# Rule: imported in a thread and only for an s3:// address: boto3 takes its time.
"""S3, and what speaks like it: PutObject with If-None-Match, through boto3 with its own retries off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config

from sie.errors import ConfigurationError, OutcomeUnknown, StoreUnavailable
from sie.store.address import Address

# More than the threads that may ask at once, so that none opens a connection only to throw it away.
_CONNECTIONS = 32

# Raised before a byte of the request went out. Whatever else the library raises may have come after.
_NOT_SENT = (
    *(boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
    *(boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.NoAuthTokenError),
    *(boto.TokenRetrievalError, boto.SSOError, boto.NoRegionError, boto.ParamValidationError),
)
# Refused by these names, however busy or late the service was: asked again, it may take it.
_PASSING = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "ConditionalRequestConflict"}
_PASSING_STATUS = {408, 409, 425, 429}

_CHECK_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_CURES = {
    "NoSuchBucket": "make the bucket, or correct SIE_CONFIG_STORE_DIR",
    "AccessDenied": "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below it",
    "InvalidAccessKeyId": _CHECK_KEYS,
    "SignatureDoesNotMatch": _CHECK_KEYS,
    "ExpiredToken": "renew the session's credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
}


class S3Bucket:
    """See `Bucket`. Endpoint, region, credentials and addressing come from the usual AWS variables and profile."""

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        """Sends nothing. Raises ConfigurationError for variables or a profile that boto3 cannot work with."""
        self._address = address
        try:
            self._client: Any = Session().client(
                "s3",
                config=Config(
                    # One request for one call: a put that the library sent twice on its own would meet itself.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    connect_timeout=timeout_s,
                    read_timeout=timeout_s,
                    max_pool_connections=_CONNECTIONS,
                    # What speaks like S3 often refuses the checksum trailers that newer clients send unasked.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        except (boto.BotoCoreError, ValueError) as fault:
            raise ConfigurationError(f"{address}: {fault}") from fault
        self._client.meta.events.register("before-sign.s3.PutObject", _send_at_once)

    @property
    def place(self) -> str:
        return str(self._address)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        with self._reaching(name):
            try:
                self._put(name, content, IfNoneMatch="*")
            except boto.ClientError as fault:
                if _status(fault) == 412:
                    return False
                if _code(fault) == "NotImplemented":
                    raise ConfigurationError(
                        f"{self.place}: this service knows no If-None-Match; choose another"
                    ) from fault
                raise
        return True

    def put(self, name: str, content: bytes) -> None:
        with self._reaching(name):
            self._put(name, content)

    def get(self, name: str) -> bytes | None:
        with self._reaching(name):
            try:
                answer = self._client.get_object(Bucket=self._address.bucket, Key=self._address.key(name))
            except self._client.exceptions.NoSuchKey:
                return None
            with closing(answer["Body"]) as body:
                content: bytes = body.read()
                return content

    def names(self, folder: str) -> list[str]:
        prefix = self._address.key(f"{folder}/")
        with self._reaching(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._address.bucket, Prefix=prefix, Delimiter="/"
            )
            keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return [key.removeprefix(prefix) for key in keys if key != prefix]

    def delete(self, name: str) -> None:
        with self._reaching(name):
            self._client.delete_object(Bucket=self._address.bucket, Key=self._address.key(name))

    def close(self) -> None:
        self._client.close()

    def _put(self, name: str, content: bytes, **conditions: str) -> None:
        key = self._address.key(name)
        self._client.put_object(
            Bucket=self._address.bucket, Key=key, Body=content, ContentType="application/json", **conditions
        )

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        """Say what the library raises as this project's errors, with the object's address and the cure."""
        where = f"config store, {self.place}/{name}"
        try:
            yield
        except boto.ClientError as fault:
            raise _verdict(fault, where) from fault
        except _NOT_SENT as fault:
            raise StoreUnavailable(f"{where}: {fault}") from fault
        except boto.BotoCoreError as fault:
            raise OutcomeUnknown(f"{where}: {fault}") from fault


def _send_at_once(request: Any, **_: Any) -> None:
    """Without asking the service first whether it wants a body of a few hundred bytes: that is a round trip more, and
    a whole second where the service does not answer to it."""
    if "Expect" in request.headers:
        del request.headers["Expect"]


def _verdict(fault: Any, where: str) -> StoreUnavailable:
    """What an answer of the service means."""
    code, status = _code(fault), _status(fault)
    said = f"{where}: {code}: {fault.response['Error'].get('Message') or f'status {status}'}"
    if code in _PASSING or status in _PASSING_STATUS or status >= 500:
        return OutcomeUnknown(said)
    return StoreUnavailable(f"{said}; {_CURES[code]}" if code in _CURES else said)


def _code(fault: Any) -> str:
    return str(fault.response["Error"]["Code"])


def _status(fault: Any) -> int:
    return int(fault.response["ResponseMetadata"]["HTTPStatusCode"])
