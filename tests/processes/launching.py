"""Start a command as several processes on this machine, as `accelerate launch` does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def launch(
    command: Sequence[str],
    *,
    processes: int = 2,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """Run `accelerate launch ... COMMAND` to its end; COMMAND is a script, or `-m` and a module."""
    return subprocess.run(
        launcher(command, processes=processes, options=options),
        env=environment(env),
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )


def launcher(
    command: Sequence[str], *, processes: int = 2, options: Sequence[str] = ()
) -> list[str]:
    """The words of such a command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
        "--num_processes", str(processes), "--num_machines", "1", "--machine_rank", "0",
        "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", str(port), *options, *command,
    ]  # fmt: skip


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of this process, with one thread for each that is started, on processors."""
    src = str(Path(__file__).parents[2] / "src")
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": src, "ACCELERATE_USE_CPU": "true"}
    return {**os.environ, **own, **(more or {})}
