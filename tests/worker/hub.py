"""A Hugging Face hub on a loopback port: the endpoints its client asks for one model, over real HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the files under `root` as the model `name`; `asked` is every request, in order."""

    daemon_threads = True

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.root = name, root
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> list[Path]:
        return sorted(one for one in self.root.rglob("*") if one.is_file())


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.server
        hub.asked.append(f"{self.command} {path}")
        if path.startswith(f"/api/models/{hub.name}/revision/"):
            siblings = [{"rfilename": str(one.relative_to(hub.root))} for one in hub.files()]
            self._send(json.dumps({"id": hub.name, "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"/api/models/{hub.name}/tree/"):
            self._send(
                json.dumps(
                    [
                        {
                            "type": "file",
                            "path": str(one.relative_to(hub.root)),
                            "size": one.stat().st_size,
                            "oid": hashlib.sha1(one.read_bytes()).hexdigest(),
                        }
                        for one in hub.files()
                    ]
                ).encode()
            )
        elif path.startswith(f"/{hub.name}/resolve/"):
            file = hub.root / path.removeprefix(f"/{hub.name}/resolve/").partition("/")[2]
            if file.is_file():
                content = file.read_bytes()
                self._send(content, etag=hashlib.sha1(content).hexdigest())
            else:
                self._send(b"", status=404, error="EntryNotFound")
        else:
            self._send(b'{"error":"Repository not found"}', status=404, error="RepoNotFound")

    def _send(self, content: bytes, *, status: int = 200, etag: str | None = None, error: str | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT, "ETag": etag and f'"{etag}"'}
        for name, value in {**headers, "X-Error-Code": error}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def hub_with(name: str, root: Path) -> Iterator[Hub]:
    hub = Hub(name, root)
    thread = Thread(target=hub.serve_forever, name="hub", daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
