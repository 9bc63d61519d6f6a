"""A process that writes a store until it is killed. Run as a script: STORE [OPERATION].

It prints how many rows are safe after each flush. With OPERATION = k it kills itself with SIGKILL just before its
k-th file operation on the store, so that a test can stop it at every moment there is; it prints `done` if it needed
fewer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tutelage.targets import TargetWriter
from tutelage.types import example_id

LABELS = ("a", "b", "c")
ROWS = 12


def name_and_probs(number: int) -> tuple[bytes, np.ndarray]:
    """A row and its only right value."""
    name = example_id(f"text {number}")
    weights = np.frombuffer(name[:3], np.uint8).astype(np.float32) + 1
    return name, weights / weights.sum()


def write(path: Path, rows: int, *, per_flush: int, report=lambda rows: None) -> None:
    """Add rows, a few at a time, to whatever is there; then finish."""
    with TargetWriter.open(
        path, kind="class_probabilities", teacher="t", labels=LABELS, rows_per_part=per_flush
    ) as writer:
        everything = [name_and_probs(number) for number in range(rows)]
        missing = writer.missing([name for name, _ in everything])
        report(rows - len(missing))
        for start in range(0, len(missing), per_flush):
            batch = [everything[row] for row in missing[start : start + per_flush]]
            writer.add([name for name, _ in batch], np.stack([probs for _, probs in batch]))
            writer.flush()
            report(len(writer))
        writer.finish()


def kill() -> None:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


def before(operation: int, path: Path, act: Callable[[], None]) -> None:
    """From now on count file operations on the store, and act before the one of this number."""
    left = operation

    def count(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "os.listdir") and str(path) in str(
            arguments[0]
        ):
            left -= 1
            if left == 0:
                act()

    sys.addaudithook(count)


if __name__ == "__main__":
    store = Path(sys.argv[1])
    if len(sys.argv) > 2:
        before(int(sys.argv[2]), store, kill)
        write(store, ROWS, per_flush=4)
        print("done")  # noqa: T201
    else:
        write(store, 3_000, per_flush=3, report=lambda rows: print(rows, flush=True))  # noqa: T201
