"""From SIE_CONFIG_STORE_DIR to a store. A new kind of store is added here, and nowhere else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sie.errors import ConfigurationError
from sie.settings import Settings
from sie.store.address import Address
from sie.store.bucket import Bucket
from sie.store.contract import Store
from sie.store.local import open_local
from sie.store.memory import MemoryStore
from sie.store.objects import open_objects


async def open_store(settings: Settings) -> Store:
    """The store that the settings name.

    Raises what `open_local` and `open_objects` raise, and ConfigurationError for an address that is none, or whose
    client library is not installed.
    """
    text = settings.store_dir
    if text is None:
        return MemoryStore()
    if "://" not in text:
        return await open_local(_folder(text), settings)
    address = Address.read(text)
    return await open_objects(partial(connect, address, settings.store_timeout_s), str(address), settings)


def is_shared(settings: Settings) -> bool:
    """Whether the settings name a store that several processes may use."""
    return settings.store_dir is not None and "://" in settings.store_dir


async def open_to_read(settings: Settings) -> Store:
    """The shared store that the settings name, to which nothing is to be put. Raises as `open_store` does."""
    assert is_shared(settings), "a local store is its one router's"
    address = Address.read(settings.store_dir or "")
    return await open_objects(
        partial(connect, address, settings.store_timeout_s), str(address), settings, only_read=True
    )


def connect(address: Address, timeout_s: float) -> Bucket:
    """The bucket at the address. Blocks while its library is imported, and no other is. Raises ConfigurationError."""
    try:
        match address.scheme:
            case "s3":
                from sie.store.s3 import S3Bucket

                return S3Bucket(address, timeout_s=timeout_s)
            case "gs":
                from sie.store.gcs import GcsBucket

                return GcsBucket(address, timeout_s=timeout_s)
    except ImportError as fault:
        extra = {"s3": "s3", "gs": "gcs"}[address.scheme]
        raise ConfigurationError(f"{address} needs {fault.name}: pip install 'sie[{extra}]'") from fault
    raise ConfigurationError(f"SIE_CONFIG_STORE_DIR={address}: a store is a directory, or lies at s3:// or gs://")


def _folder(text: str) -> Path:
    """Absolute, so that names in errors are whole and a change of the working directory moves nothing."""
    return Path(text).expanduser().absolute()
