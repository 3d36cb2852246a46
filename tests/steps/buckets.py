"""A bucket in memory, for an ObjectStore without a service."""

from __future__ import annotations

import threading


class MemoryBucket:
    """See `sie.store.bucket.Bucket`. It outlives whoever connects to it."""

    place = "memory://bucket"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put_if_absent(self, name: str, content: bytes) -> bool:
        with self._lock:
            if name in self.objects:
                return False
            self.objects[name] = content
            return True

    def put(self, name: str, content: bytes) -> None:
        self.objects[name] = content

    def get(self, name: str) -> bytes | None:
        return self.objects.get(name)

    def names(self, folder: str) -> list[str]:
        with self._lock:
            return [name.rpartition("/")[2] for name in self.objects if name.rpartition("/")[0] == folder]

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def close(self) -> None:
        pass
