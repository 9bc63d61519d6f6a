"""A process that writes a store until it is killed. Run as a script: STORE [OPERATION [KIND]].

It prints how many rows are safe after each flush. With OPERATION = k it kills itself with SIGKILL
just before its k-th file operation on the store, so that a test can stop it at every moment there
is; it prints `done` if it needed fewer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.targets import HiddenTargets, SparseTargets, TargetWriter, write_output_matrix
from tutelage.types import example_id

LABELS = ("a", "b", "c")
ROWS = 12


def name_and_value(number: int, kind: str = "class_probabilities") -> tuple[bytes, Any]:
    """A row and its only right value."""
    name = example_id(f"text {number}")
    if kind == "class_probabilities":
        weights = np.frombuffer(name[:3], np.uint8).astype(np.float32) + 1
        return name, weights / weights.sum()
    positions, one = number % 4, np.full(number % 4, number + 1, np.float32)
    if kind == "hidden":
        return name, HiddenTargets(np.full((positions, 2), number, np.int8), one, one / 16)
    # One entry a position: what is stored is exact.
    count, ids = np.ones(positions, np.uint16), np.full(positions, number, np.int32)
    return name, SparseTargets(
        count, count, ids, np.zeros(positions, np.float32), np.zeros(positions, np.float32)
    )


def settings(kind: str) -> dict[str, Any]:
    """What a store of these rows is opened with."""
    if kind == "class_probabilities":
        return {"kind": kind, "teacher": "t", "labels": LABELS}
    kind = kind.removesuffix(" late")
    encoding = {"threshold": 0.5} if kind == "sampled" else {}
    return {
        "kind": kind,
        "teacher": "t",
        "tokenizer": "k",
        "vocabulary_size": 4_000,
        "encoding": encoding,
    }


def write(
    path: Path,
    rows: int,
    *,
    per_flush: int,
    kind: str = "class_probabilities",
    report=lambda rows: None,
) -> None:
    """Add rows, a few at a time, to whatever is there; then finish."""
    if kind == "hidden":
        write_output_matrix(path, weight=np.ones((4_000, 2)), scale=0.5, cap=9)
    # Parts of `sampled` are small ones: put together as soon as they fill one, or by `finish`.
    some = {
        "sampled": {"rows_per_part": 12, "seconds_per_part": 0},
        "sampled late": {"rows_per_part": 100},
    }
    with TargetWriter.open(
        path, **some.get(kind, {"rows_per_part": per_flush}), **settings(kind)
    ) as writer:
        everything = [name_and_value(number, kind) for number in range(rows)]
        missing = writer.missing([name for name, _ in everything])
        report(rows - len(missing))
        for start in range(0, len(missing), per_flush):
            batch = [everything[row] for row in missing[start : start + per_flush]]
            writer.add([name for name, _ in batch], [value for _, value in batch])
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
        if event in (
            "open",
            "os.rename",
            "os.remove",
            "os.mkdir",
            "os.scandir",
            "os.listdir",
        ) and str(path) in str(arguments[0]):
            left -= 1
            if left == 0:
                act()

    sys.addaudithook(count)


if __name__ == "__main__":
    store = Path(sys.argv[1])
    if len(sys.argv) > 2:
        before(int(sys.argv[2]), store, kill)
        write(store, ROWS, per_flush=4, kind=(*sys.argv, "class_probabilities")[3])
        print("done")
    else:
        write(store, 3_000, per_flush=3, report=lambda rows: print(rows, flush=True))
