# Rule: imported in a thread and only for a gs:// address: the library takes its time.
"""Google Cloud Storage: uploads that must create their object, through google-cloud-storage with its retries off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ConnectTimeout, RequestException
from urllib3.exceptions import MaxRetryError, NewConnectionError

from sie.errors import ConfigurationError, OutcomeUnknown, StoreUnavailable
from sie.store.address import Address

# More than the threads that may ask at once, so that none opens a connection only to throw it away.
_CONNECTIONS = 32

# Answers after which the same request may well be taken.
_PASSING_STATUS = {408, 409, 425, 429}

_CURES = {
    401: "check GOOGLE_APPLICATION_CREDENTIALS",
    403: "allow this identity storage.objects.create, .get, .list and .delete on the bucket",
    404: "make the bucket, or correct SIE_CONFIG_STORE_DIR",
}


class GcsBucket:
    """See `Bucket`. Credentials are Google's application default ones; STORAGE_EMULATOR_HOST needs none.

    Of a missing bucket this service says, asked for an object, that the object is missing.
    """

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        """May ask for credentials over the network. Raises StoreUnavailable if there are none."""
        self._address = address
        self._timeouts_s = (timeout_s, timeout_s)  # to connect; between two bytes of an answer
        try:
            self._client = storage.Client(project=None)
        except GoogleAuthError as fault:
            raise StoreUnavailable(f"config store, {address}: {fault}") from fault
        except ValueError as fault:
            raise ConfigurationError(f"{address}: {fault}") from fault
        # On a miss the library would ask for the bucket itself, from a thread of its own, retrying for minutes: each
        # entry that is not there yet is such a miss.
        self._client._bucket_metadata_cache = None
        for scheme in ("https://", "http://"):
            self._client._http.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS))
        self._bucket = self._client.bucket(address.bucket)

    @property
    def place(self) -> str:
        return str(self._address)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        with self._reaching(name):
            try:
                self._put(name, content, if_generation_match=0)
            except PreconditionFailed:
                return False
        return True

    def put(self, name: str, content: bytes) -> None:
        with self._reaching(name):
            self._put(name, content)

    def get(self, name: str) -> bytes | None:
        with self._reaching(name):
            try:
                content: bytes = self._blob(name).download_as_bytes(timeout=self._timeouts_s, retry=None)
            except NotFound:
                return None
        return content

    def names(self, folder: str) -> list[str]:
        prefix = self._address.key(f"{folder}/")
        with self._reaching(folder):
            found = self._client.list_blobs(
                self._bucket, prefix=prefix, delimiter="/", timeout=self._timeouts_s, retry=None
            )
            keys = [one.name for one in found]
        return [key.removeprefix(prefix) for key in keys if key != prefix]

    def delete(self, name: str) -> None:
        with self._reaching(name), suppress(NotFound):
            self._blob(name).delete(timeout=self._timeouts_s, retry=None)

    def close(self) -> None:
        self._client.close()

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self._address.key(name))

    def _put(self, name: str, content: bytes, **conditions: int) -> None:
        self._blob(name).upload_from_string(
            content, content_type="application/json", timeout=self._timeouts_s, retry=None, **conditions
        )

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        """Say what the library raises as this project's errors, with the object's address and the cure."""
        where = f"config store, {self.place}/{name}"
        try:
            yield
        except GoogleAPICallError as fault:
            raise _verdict(fault, where) from fault
        except GoogleAuthError as fault:  # raised while it looks for a token, never by what the token is for
            raise StoreUnavailable(f"{where}: no credentials: {fault}") from fault
        except RequestException as fault:
            kind = StoreUnavailable if _never_connected(fault) else OutcomeUnknown
            raise kind(f"{where}: {fault}") from fault
        except (DataCorruption, InvalidResponse) as fault:
            raise OutcomeUnknown(f"{where}: {fault}") from fault


def _verdict(fault: GoogleAPICallError, where: str) -> StoreUnavailable:
    """What an answer of the service means."""
    status = fault.code or 500
    said = f"{where}: {_reason(fault, status)}"
    if status in _PASSING_STATUS or status >= 500:
        return OutcomeUnknown(said)
    return StoreUnavailable(f"{said}; {_CURES[status]}" if status in _CURES else said)


def _reason(fault: GoogleAPICallError, status: int) -> str:
    """The service's own words; not the library's, which repeat the whole URL."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        return f"{status} {fault.response.json()['error']['message']}"
    with suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return f"status {status}"


def _never_connected(fault: RequestException) -> bool:
    if isinstance(fault, ConnectTimeout):
        return True
    reason = fault.args[0] if isinstance(fault, NoConnection) and fault.args else None
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)
