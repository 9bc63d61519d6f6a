"""Code in a Python process of its own."""

import os
import subprocess
import sys


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert "not supported" not in done.stderr
    return done.stdout.strip()
