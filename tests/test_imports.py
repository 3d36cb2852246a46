"""A process that has no models never loads what models need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sie.wire

WIRE = sorted(Path(sie.wire.__file__).parent.glob("*.py"))


def test_the_engine_alone_reads_nothing_of_buses_proxies_and_clouds() -> None:
    program = "import sys, sie.service; print({'nats', 'httpx', 'boto3', 'google.cloud', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_faces_loads_neither_numpy_nor_torch() -> None:
    modules = [f"sie.wire.{path.stem}" for path in WIRE if path.stem != "__init__"]
    modules += ["sie.http.app", "sie.http.server", "sie.http.auth", "sie.http.body", "sie.worker.routes"]
    program = f"import sys, {', '.join(modules)}; sys.exit(bool({{'numpy', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
