"""From SIE_CONFIG_STORE_DIR to a store. A new kind of store is added here, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from sie.errors import ConfigurationError
from sie.settings import Settings
from sie.store.contract import Store
from sie.store.local import open_local
from sie.store.memory import MemoryStore


async def open_store(settings: Settings) -> Store:
    """The store that the settings name. Raises what `open_local` raises, and ConfigurationError for any URL."""
    address = settings.store_dir
    if address is None:
        return MemoryStore()
    if "://" in address:
        raise ConfigurationError(
            f"SIE_CONFIG_STORE_DIR={address}: this build keeps its config store in memory or in a local directory"
        )
    return await open_local(_folder(address), settings)


def _folder(address: str) -> Path:
    """Absolute, so that names in errors are whole and a change of the working directory moves nothing."""
    return Path(address).expanduser().absolute()
