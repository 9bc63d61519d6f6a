"""Hostile inputs: whatever a file says, tutelage answers in words of its own.

How many inputs each kind gets is its share of `TUTELAGE_HOSTILE_INPUTS`, 2,000 when unset (what CI
has time for); `docs/reliability.md` has the counts of longer runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings

from tutelage.cli.main import main

MEMORY_LIMIT = 1 << 30
"""Bytes that one input may take over what the process held before it."""
SECONDS_LIMIT = 60.0
"""Seconds of processor time that one input may take."""
UNEXPECTED = "not an error that tutelage expected"
SHARES = {
    "recipe": 0.25,
    "csv": 0.1,
    "jsonl": 0.15,
    "parquet": 0.1,
    "manifest": 0.15,
    "model_config": 0.1,
    "tokenizer_config": 0.075,
    "chat_template": 0.075,
    "server": 0.15,
    "upstream": 0.03,
    "bundle": 0.05,
}
"""Inputs of each kind, as a part of the number; the first eight sum to one."""


def hostile(kind: str) -> settings:
    """Hypothesis settings of a test over inputs of `kind`: `@hostile("recipe")` over `@given`."""
    count = int(os.environ.get("TUTELAGE_HOSTILE_INPUTS", "2000"))
    return settings(
        max_examples=max(1, round(count * SHARES[kind])),
        deadline=None,
        database=None,
        derandomize="TUTELAGE_HOSTILE_INPUTS" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )


def _memory() -> tuple[int, int]:
    """Bytes held now and at the peak since the last reset; zeros where the system has no such file."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0, 0
    held = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if "kB" in line}
    return int(held["VmRSS"]) * 1024, int(held["VmHWM"]) * 1024


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail when what runs inside takes more memory or processor time than one input may."""
    _reset_peak()
    before, _ = _memory()
    started = time.process_time()
    yield
    _, peak = _memory()
    assert peak - before < MEMORY_LIMIT, f"took {(peak - before) / 1e6:,.0f} MB"
    seconds = time.process_time() - started
    assert seconds < SECONDS_LIMIT, f"took {seconds:.1f} s"


def answer(*words: str | Path) -> tuple[int, str]:
    """Run one command in this process, within bounds; its exit code and all it printed.

    Asserts what holds for every input: exit code 0, 1 or 2, and words of our own.
    """
    out, err = io.StringIO(), io.StringIO()
    with bounded(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
    said = out.getvalue() + err.getvalue()
    assert code in (0, 1, 2), said
    assert UNEXPECTED not in said, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    assert len(said) < 20_000, f"{len(said):,} characters were printed"
    return code, said
