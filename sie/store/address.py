"""Where a shared store lies: scheme, bucket and prefix, as SIE_CONFIG_STORE_DIR gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sie.errors import ConfigurationError

# What S3 and GCS both take as a bucket. Anything else, a password before an `@` for one, is refused unrepeated.
_ADDRESS = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<bucket>[a-z0-9][a-z0-9._-]{1,221}[a-z0-9])(?P<prefix>/.*)?")


@dataclass(frozen=True, slots=True)
class Address:
    """`prefix` without slashes around it; empty when the store is the whole bucket."""

    scheme: str
    bucket: str
    prefix: str

    @staticmethod
    def read(text: str) -> Address:
        """Raises ConfigurationError, which does not repeat the text: somebody may have put credentials in it."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ConfigurationError("SIE_CONFIG_STORE_DIR should be of the form scheme://bucket/prefix, and no more")
        return Address(found["scheme"], found["bucket"], (found["prefix"] or "").strip("/"))

    def key(self, name: str) -> str:
        """What the object of this name is called in the bucket."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")
