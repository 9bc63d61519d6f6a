"""From an exception to words on stderr and an exit code."""

from __future__ import annotations

import json
import sys

from tutelage.errors import (
    DataError,
    ModelError,
    NotEnoughDisk,
    NotEnoughMemory,
    Problem,
    RecipeError,
    RunExists,
    RunIncomplete,
    TutelageError,
)

WRONG_INPUT = (
    RecipeError,
    DataError,
    ModelError,
    RunExists,
    RunIncomplete,
    NotEnoughDisk,
    NotEnoughMemory,
)
"""Errors that the person can mend by changing what they gave."""


def explain(error: BaseException, *, command: str, as_json: bool) -> int:
    """Say what went wrong and what to do, and give the exit code.

    Args:
        error: What was raised. Errors that are not ours are shown with the way to see more.
        command: The word that failed, repeated in the advice.
        as_json: Also print `{"error": ..., "problems": [...]}` on stdout.

    Returns:
        2 for wrong input, 130 for Ctrl-C, 1 for anything else.
    """
    if isinstance(error, KeyboardInterrupt):
        _say(
            "\nStopped. What is done is kept: run the same command again to go on (tutelage "
            f"{command} ...)."
        )
        return 130
    if isinstance(error, BrokenPipeError):
        return 1
    if as_json:
        problems = (
            [vars_of(problem) for problem in error.problems]
            if isinstance(error, RecipeError)
            else []
        )
        record = {"error": type(error).__name__, "message": str(error), "problems": problems}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    if isinstance(error, RecipeError):
        count = len(error.problems)
        for problem in error.problems:
            _say(f"error: {problem}")
        if count > 1:
            _say(f"{count} problems. Nothing was started.")
        return 2
    if isinstance(error, TutelageError):
        _say(f"{type(error).__name__}: {error}")
        return 2 if isinstance(error, WRONG_INPUT) else 1
    _say(f"{type(error).__name__}: {error}")
    _say(
        "This is not an error that tutelage expected. Run again with --traceback to see where it "
        "came from."
    )
    return 1


def vars_of(problem: Problem) -> dict[str, str]:
    """A problem as JSON."""
    return {"where": problem.where, "message": problem.message, "severity": problem.severity}


def _say(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201
