"""A server that speaks enough S3 to keep objects, and ignores If-None-Match as some do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def forgetful_s3() -> Iterator[tuple[int, dict[str, bytes]]]:
    """Its port, and what it holds by path."""
    objects: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            objects[self.path] = self.rfile.read(int(self.headers["content-length"]))
            self._answer(200, b"")

        def do_GET(self) -> None:
            content = objects.get(self.path)
            missing = b"<Error><Code>NoSuchKey</Code></Error>"
            self._answer(*((200, content) if content is not None else (404, missing)))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port, objects
        server.shutdown()
        serving.join()
