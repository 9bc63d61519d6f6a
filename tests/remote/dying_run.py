"""Run a recipe at a URL in a process that is killed, as by a machine that dies, once the third
checkpoint of the student was pushed: `python dying_run.py RECIPE URL`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run
from tutelage.runs.remote import mirror
from tutelage.train import journal

LAST_STEP = 15
mirror.PAUSE_SECONDS = 0.05
_push, _write = mirror._Mirror._push, journal.write_checkpoint


def push_and_die(self: mirror._Mirror) -> None:
    _push(self)
    if any(name.endswith(f"{LAST_STEP}/state.json") for name in self._there):
        os.kill(os.getpid(), signal.SIGKILL)


def write_and_wait(folder: Path, step: int, *others: Any) -> Path:
    written = _write(folder, step, *others)
    if step == LAST_STEP:
        time.sleep(60.0)  # until it is killed
    return written


mirror._Mirror._push = push_and_die
journal.write_checkpoint = write_and_wait
run(load_recipe(Path(sys.argv[1])), out=Path(sys.argv[2]), until="train")
