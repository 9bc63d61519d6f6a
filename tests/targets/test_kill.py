"""kill -9 at any moment: what was flushed is there, nothing is half there, and writing goes on
where it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.targets import writer_to_kill

from tutelage.errors import TargetsIncomplete
from tutelage.targets import TargetStore, verify
from tutelage.types import example_id

SCRIPT = Path(__file__).with_name("writer_to_kill.py")


def rows_there(path: Path, kind: str = "class_probabilities") -> int:
    """How many rows a killed writer left, after checking that each is right."""
    try:
        store = TargetStore.open(path, allow_incomplete=True)
    except TargetsIncomplete:  # killed before the first manifest
        return 0
    assert verify(path) == []
    present = [number for number in range(len(store) + 10) if example_id(f"text {number}") in store]
    assert present == list(range(len(store)))
    rows = [writer_to_kill.name_and_value(number, kind) for number in present]
    found = store.lookup([name for name, _ in rows])
    for value, (_, expected) in zip(found, rows, strict=True):
        fields = [] if kind == "class_probabilities" else type(expected).__slots__
        assert all(
            np.array_equal(getattr(value, field), getattr(expected, field)) for field in fields
        )
        assert fields or np.array_equal(value, expected)
    return len(store)


def assert_finishes(path: Path, kind: str = "class_probabilities") -> None:
    """A later writer goes on, and leaves nothing but the store."""
    rows = max(rows_there(path, kind), writer_to_kill.ROWS)
    writer_to_kill.write(path, rows, per_flush=4, kind=kind)
    assert TargetStore.open(path).manifest.complete
    assert rows_there(path, kind) == rows
    if "sampled" in kind:
        assert [part.rows for part in TargetStore.open(path).manifest.parts] == [rows]
    expected = {"manifest.json", *(part.file for part in TargetStore.open(path).manifest.parts)}
    assert {found.name for found in path.iterdir()} == expected | (
        {"output.safetensors"} if kind == "hidden" else set()
    )


DRIVER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import writer_to_kill as w
for k in range(1, 200):
    path = Path(sys.argv[2]) / str(k) / "targets"
    path.parent.mkdir()
    child = os.fork()
    if not child:
        w.before(k, path, getattr(w, sys.argv[3]))
        try:
            w.write(path, w.ROWS, per_flush=4, kind=sys.argv[4])
        except KeyboardInterrupt:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
    if status == 0:
        break
"""
"""Forks a writer that is stopped before its first file operation, one before its second, and so on
to the last."""


def rows_left_by_each(
    tmp_path: Path, act: str, *, exit_code: int, kind: str = "class_probabilities"
) -> list[int]:
    command = [sys.executable, "-c", DRIVER, str(SCRIPT.parent), str(tmp_path), act, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exit_codes = [int(code) for code in done.stdout.split()]
    assert exit_codes == [exit_code] * (len(exit_codes) - 1) + [0]
    assert len(exit_codes) > 20  # a lock, parts and manifests, each written beside and renamed
    return [
        rows_there(tmp_path / str(number) / "targets", kind)
        for number in range(1, len(exit_codes) + 1)
    ]


@pytest.mark.parametrize("kind", ["class_probabilities", "sampled", "sampled late", "hidden"])
def test_killed_before_every_single_file_operation(tmp_path, kind):
    left = rows_left_by_each(tmp_path, "kill", exit_code=-signal.SIGKILL, kind=kind)
    assert sorted(set(left)) == [0, 4, 8, 12]
    assert left == sorted(left)
    for number in range(1, len(left) + 1):
        assert_finishes(tmp_path / str(number) / "targets", kind)
    parts = [
        part.rows for part in TargetStore.open(tmp_path / str(len(left)) / "targets").manifest.parts
    ]
    assert parts == ([12] if "sampled" in kind else [4, 4, 4])


@pytest.mark.parametrize("kind", ["class_probabilities", "sampled", "sampled late"])
def test_ctrl_c_before_every_single_file_operation(tmp_path, kind):
    """Leaving the context closes the part in hand: nothing that was added is lost, and no row is
    written twice."""
    left = rows_left_by_each(tmp_path, "interrupt", exit_code=1, kind=kind)
    assert sorted(set(left)) == [0, 4, 8, 12]
    assert left == sorted(left)
    for number in range(1, len(left) + 1):
        assert_finishes(tmp_path / str(number) / "targets", kind)
    killed = tmp_path / "killed"
    killed.mkdir()
    assert sum(left) > sum(rows_left_by_each(killed, "kill", exit_code=-signal.SIGKILL, kind=kind))


def test_killed_at_random_moments_over_and_over(tmp_path):
    """One store, killed again and again while it is written: it only ever grows, and never loses
    what was promised."""
    path, chance, safe = tmp_path / "targets", random.Random(0), 0
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert int(child.stdout.readline()) >= safe  # it has found what earlier ones left
        promised = [
            int(child.stdout.readline()) for _ in range(chance.randrange(4))
        ]  # however fast the machine is
        time.sleep(chance.uniform(0.0, 0.05))
        child.kill()
        promised += [int(line) for line in child.stdout.read().split("\n")[:-1]]
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        there = rows_there(path)
        assert there >= max([safe, *promised])
        safe = there
    assert safe > 0
    assert_finishes(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_of_a_killed_writer_locks_nothing(tmp_path):
    path = tmp_path / "targets"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path), "14"], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert (path / ".lock").exists()
    assert_finishes(path)
