"""A command in one of several processes that a launcher started: the leader talks, the others are
silent, and one line says why all of them end.

In: the words of the command. Out: its exit code, in every process. Commands that do a recipe are
done by all; any other is done by the leader alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from tutelage.errors import ProcessLost
from tutelage.processes import endings, record_ending

ALL = frozenset({"run", "label", "train", "evaluate", "report"})
"""Commands that every process takes part in."""
_PATIENCE_SECONDS = 5.0
"""For the leader to say the same error, or one that it got from this process."""
_LAST_WORDS_SECONDS = 5
"""For a process that is told to end to say why."""


def run_launched(
    options: argparse.Namespace, run_alone: Callable[[argparse.Namespace], int]
) -> int:
    """Run one command as this process of the launch, and give its exit code.

    Args:
        options: As parsed.
        run_alone: How a process runs a command that no launcher started.

    Returns:
        As `main`; of a leader that failed, its followers give the same.
    """
    from tutelage.cli.commands import COMMANDS
    from tutelage.cli.labelling import is_of_texts
    from tutelage.cli.remote import bring
    from tutelage.cli.terminal import explain, hush_threads, progress_for

    leads = os.environ["RANK"] == "0"
    if options.command not in ALL or (options.command == "label" and is_of_texts(options)):
        if not leads:
            return 0
        for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "ACCELERATE_USE_FSDP"):
            os.environ.pop(name, None)
        return run_alone(options)
    # The launcher tells all others to end as soon as one has: they may still say why.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_LAST_WORDS_SECONDS))
    spoken = sys.stderr
    if not options.traceback:
        hush_threads()
    try:
        with ExitStack() as held:
            if not leads:
                nowhere = held.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
                held.enter_context(redirect_stdout(nowhere))
                held.enter_context(redirect_stderr(nowhere))
                options.quiet = True
            bring(options, progress=progress_for(quiet=options.quiet or options.json))
            return COMMANDS[options.command](options)
    except BaseException as error:
        if options.traceback or isinstance(error, SystemExit):
            raise
        if not leads:
            return _follower_ended(error, spoken)
        code = explain(error, command=options.command, as_json=options.json)
        record_ending(code, f"{type(error).__name__}: {error}")
        return code


def _follower_ended(error: BaseException, spoken: TextIO) -> int:
    """End as the leader does; speak only where it cannot or does not know."""
    rank = int(os.environ["RANK"])
    if not isinstance(error, ProcessLost):
        record_ending(1, f"{type(error).__name__}: {error}")
    patience = time.monotonic() + (0 if isinstance(error, ProcessLost) else _PATIENCE_SECONDS)
    while True:
        if leaders := [one for one in endings(1) if one.rank == 0]:
            return leaders[0].code
        if time.monotonic() >= patience:
            break
        time.sleep(0.05)
    spoken.write(f"process {rank}: {type(error).__name__}: {error}\n")
    return 1
