"""A shared store for a test: a real service, a place in it that is the test's own, and a way past our own code."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from sie.settings import Settings
from sie.store.address import Address
from sie.store.bucket import Bucket
from sie.store.objects import ObjectStore
from sie.store.open import connect, open_store
from tests.bucket_servers import BUCKET, KEY, KEY_ID

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Shared:
    """`url`: what SIE_CONFIG_STORE_DIR would be. `port`: where the service listens."""

    scheme: str
    port: int
    url: str
    monkeypatch: pytest.MonkeyPatch

    @staticmethod
    def at(scheme: str, port: int, monkeypatch: pytest.MonkeyPatch) -> Shared:
        """A place nobody else uses, and the variables that lead there."""
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": KEY,
        }.items():
            monkeypatch.setenv(name, value)
        shared = Shared(scheme, port, f"{scheme}://{BUCKET}/some/prefix-{next(_numbers)}", monkeypatch)
        shared.lead_to(port)
        return shared

    def lead_to(self, port: int) -> None:
        """What is opened from now on goes to this port instead: a proxy's."""
        variable = {"s3": "AWS_ENDPOINT_URL_S3", "gs": "STORAGE_EMULATOR_HOST"}[self.scheme]
        self.monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")

    def bucket(self, url: str | None = None) -> Bucket:
        """To look at objects, and to damage them, wherever `lead_to` leads."""
        return connect(Address.read(url or self.url), 5.0)

    async def open(self, *, timeout_s: float = 30.0, url: str | None = None) -> ObjectStore:
        """A patient store: these tests share their machine."""
        store = await open_store(Settings(store_dir=url or self.url, store_timeout_s=timeout_s))
        assert isinstance(store, ObjectStore)
        return store
