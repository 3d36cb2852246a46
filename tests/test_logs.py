"""What a program's logs look like, and what is no level of them."""

from __future__ import annotations

import os
import subprocess
import sys


def test_an_unknown_log_level_is_one_line_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sie.cli", "serve", "--port", "0", "--log-level", "loud"],
        env={**os.environ, "SIE_HOST": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sie: SIE_LOG_LEVEL='loud': say debug, info, warning or error\n"
